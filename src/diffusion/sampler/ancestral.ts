/** Ancestral sampling: draws from p(z_s | z_t) (VDM, eq. 33). */

import type { Tensor } from "../../torch/index.js";
import { type NoiseLevel, Transition } from "../level.js";
import type { GaussianSampler } from "./step.js";

/** `mean + alpha_s (x_s - x_t)`: the mean of DiffEnc's p(z_s | z_t). */
function moved(mean: Tensor, to: NoiseLevel, motion: Tensor | undefined): Tensor {
  return motion ? mean.add(to.alpha.mul(motion)) : mean;
}

/**
 * `z_s = (alpha_s / alpha_t) (z_t - sigma_t c eps) + sigma_s sqrt(c) noise`, with noise at every step, the last included:
 * z_0 is a latent, and the decoder removes what is left.
 */
export const ancestral: GaussianSampler = ({ z, prediction, from, to, noise, motion }) => {
  const step = new Transition(to, from);
  const by = step.posteriorMeanFromNoise;
  const mean = moved(by.z.mul(z).add(by.eps.mul(prediction.eps)), to, motion);
  return mean.add(step.posteriorVariance.sqrt().mul(noise()));
};

/** The same with the prediction of the image clamped to [-1, 1], through the mean in terms of x (VDM, eq. 24). */
export const clippedAncestral: GaussianSampler = ({ z, prediction, from, to, noise, motion }) => {
  const step = new Transition(to, from);
  const by = step.posteriorMean;
  const mean = moved(by.z.mul(z).add(by.x.mul(prediction.x.clamp(-1, 1))), to, motion);
  return mean.add(step.posteriorVariance.sqrt().mul(noise()));
};
