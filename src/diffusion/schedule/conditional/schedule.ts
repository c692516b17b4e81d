/** What a per-pixel noise schedule is: gamma(z, t) of every pixel, given a latent z of the image. */
import { Module } from "../../../nn/index.js";
import type { Tensor } from "../../../torch/index.js";
import type { NoiseCurve } from "../schedule.js";

/** `gamma(z, t)`, increasing in t (MuLAN, Sahoo et al. 2024, arXiv 2312.13236): elementwise what `NoiseSchedule` is for a whole image. */
export abstract class ConditionalSchedule extends Module {
  /**
   * The curves for latents `z` `[B, m]`; what depends on z alone is computed here, once for all times. At times `[B]`
   * their gamma and gamma' are `[B, D]`, D in the order `(h W + w) C + c`, or `[B, 1]` where all pixels share them.
   * gamma' is in closed form. Both are computed in float64 whatever the parameters' dtype (neighbouring levels of a
   * long chain differ by less than float32 can tell), returned in that of the times, and differentiable in the times, z
   * and the parameters.
   */
  abstract given(z: Tensor): NoiseCurve;
}

/** What the schedule's sizes follow from. */
export interface ConditionalContext {
  /** m, entries of z. */
  readonly latentSize: number;
  /** D = H W C, pixels times channels. */
  readonly dimensions: number;
}
