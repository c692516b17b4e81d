/** DDIM: the deterministic step, a discretisation of the probability flow. */
import type { GaussianSampler } from "./step.js";

/** `z_s = alpha_s x_s + sigma_s eps`, with `x_s = x` where the clean mean does not move. */
export const ddim: GaussianSampler = ({ prediction: { x, eps }, to, motion }) =>
  to.diffuse(motion ? x.add(motion) : x, eps);
