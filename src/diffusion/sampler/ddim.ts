/** DDIM: the deterministic step, a discretisation of the probability flow. */
import type { GaussianSampler } from "./step.js";

/** `z_s = alpha_s x + sigma_s eps` */
export const ddim: GaussianSampler = ({ prediction, to }) => to.diffuse(prediction.x, prediction.eps);
