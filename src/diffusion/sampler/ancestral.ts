/** Ancestral sampling: draws from p(z_s | z_t) (VDM, eq. 33). */
import { Transition } from "../level.js";
import type { GaussianSampler } from "./step.js";

/**
 * `z_s = (alpha_s / alpha_t) (z_t - sigma_t c eps) + sigma_s sqrt(c) noise`, with noise at every step, the last included:
 * z_0 is a latent, and the decoder removes what is left.
 */
export const ancestral: GaussianSampler = ({ z, prediction, from, to, noise }) => {
  const step = new Transition(to, from);
  const mean = step.posteriorMeanFromNoise;
  return mean.z.mul(z).add(mean.eps.mul(prediction.eps)).add(step.posteriorVariance.sqrt().mul(noise()));
};

/** The same with the prediction of the image clamped to [-1, 1], through the mean in terms of x (VDM, eq. 24). */
export const clippedAncestral: GaussianSampler = ({ z, prediction, from, to, noise }) => {
  const step = new Transition(to, from);
  const mean = step.posteriorMean;
  return mean.z
    .mul(z)
    .add(mean.x.mul(prediction.x.clamp(-1, 1)))
    .add(step.posteriorVariance.sqrt().mul(noise()));
};
