/** What cold diffusion asks of the networks that lead from one level of degradation to a cleaner one. */
import type { Tensor } from "../../torch/index.js";
import type { CostedNetwork, Pass } from "../denoiser.js";

/** Between which levels a network is asked to go, each `[B]`, int64, in the numbering that it is told them in. */
export interface LevelTimes {
  /** The level of its input. */
  readonly t: Tensor;
  /** The level asked for; networks of one time do not look at it. */
  readonly t2: Tensor;
}

/** Predicts from images `x` `[B, C, H, W]` something of their shape: the cleaner image less `x`, x_0, or the noise in `x`. */
export interface LevelNetwork extends CostedNetwork {
  forward(x: Tensor, times: LevelTimes, pass: Pass): Tensor;
}

/** `N(mean, diag(exp(logVariance)))`, both `[B, L]`. */
export interface LatentPosterior {
  readonly mean: Tensor;
  readonly logVariance: Tensor;
}

/** The same with a latent vector that says which of the images before `x` is meant, and with its variational encoder. */
export interface LatentLevelNetwork extends CostedNetwork {
  /** L */
  readonly latentSize: number;
  /** `s(z | target, x)`: of the latent that leads from `x` to `target`, both `[B, C, H, W]`. */
  encode(x: Tensor, target: Tensor, times: LevelTimes, pass: Pass): LatentPosterior;
  /** `latent` is `[B, L]`. */
  forward(x: Tensor, times: LevelTimes, latent: Tensor, pass: Pass): Tensor;
}
