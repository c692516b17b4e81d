/** What a system asks of the network that predicts. */
import type { Module } from "../nn/index.js";
import type { DropoutKeys, FloatDtype, Tensor } from "../torch/index.js";

/** How a forward pass runs: what changes between training, evaluation and tests. */
export interface Pass {
  /** Present in training alone: its absence switches dropout off. */
  readonly dropout?: DropoutKeys;
  /** The precision of convolutions and matrix products; weights and likelihoods stay as they are. Default `float32`. */
  readonly precision?: FloatDtype;
}

/** A network that may know what it costs. */
export interface CostedNetwork extends Module {
  /** Multiplications and additions of one forward pass of one image, times two; undefined where nobody counted. */
  flops?(height: number, width: number): number;
  /** Elements kept per image between a forward pass and its backward. */
  activations?(height: number, width: number): number;
}

/**
 * Predicts from `z` `[B, C, H, W]`, its noise level `gamma` `[B]`, or per pixel `[B, C, H, W]` where the schedule is, and
 * the condition of each image: one number `[B]`, or K of them `[B, K]`. The result has z's shape.
 */
export interface Denoiser extends CostedNetwork {
  forward(z: Tensor, gamma: Tensor, condition: Tensor, pass: Pass): Tensor;
}
