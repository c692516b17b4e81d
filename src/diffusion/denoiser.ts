/** What a system asks of the network that predicts. */
import type { Module } from "../nn/index.js";
import type { DropoutKeys, FloatDtype, Tensor } from "../torch/index.js";

/** How a forward pass runs: what changes between training, evaluation and tests. */
export interface Pass {
  /** Present in training alone: its absence switches dropout off. */
  readonly dropout?: DropoutKeys;
  /** The precision of convolutions and matrix products; weights and likelihoods stay as they are. Default `float32`. */
  readonly precision?: FloatDtype;
  /**
   * What feature maps are stored in where `precision` is half: `half`, the default, or `float32`, so that sums over blocks, and
   * what is normalised of them, are rounded inside products alone. For passes without gradients.
   */
  readonly maps?: "half" | "float32";
  readonly recompute?: Recompute;
}

/**
 * Which activations a training computes again for the gradient rather than keeps them: those of the blocks of every
 * resolution level, one block at a time, and of the middle; or `none`, the default. Results and gradients are the same.
 */
export type Recompute = "none" | "levels";

/** A network that may know what it costs. */
export interface CostedNetwork extends Module {
  /** Multiplications and additions of one forward pass of one image, times two; undefined where nobody counted. */
  flops?(height: number, width: number): number;
  /** Elements kept per image between a forward pass and its backward; with `recompute` also those of one block again. */
  activations?(height: number, width: number, recompute?: Recompute): number;
}

/**
 * Predicts from `z` `[B, C, H, W]`, its noise level `gamma` `[B]`, or per pixel `[B, C, H, W]` where the schedule is, and
 * the condition of each image: one number `[B]`, or K of them `[B, K]`. The result has z's shape.
 */
export interface Denoiser extends CostedNetwork {
  forward(z: Tensor, gamma: Tensor, condition: Tensor, pass: Pass): Tensor;
}
