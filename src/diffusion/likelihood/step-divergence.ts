/** The divergence of two Gaussian steps whose means and variances both differ. */
import type { Tensor } from "../../torch/index.js";
import type { Transition } from "../level.js";

/** A Gaussian with its own variance for every pixel. */
export interface StepLaw {
  readonly mean: Tensor;
  readonly logVariance: Tensor;
}

/** `q(z_s | z_t, x)` along a transition (VDM, eq. 24-25), elementwise. */
export function stepLaw(step: Transition, z: Tensor, x: Tensor): StepLaw {
  const by = step.posteriorMean;
  return { mean: by.z.mul(z).add(by.x.mul(x)), logVariance: step.logPosteriorVariance };
}

/** `KL(q || p) = 1/2 ((mu_q - mu_p)^2 / sigma_p^2 + sigma_q^2 / sigma_p^2 - 1 - ln(sigma_q^2 / sigma_p^2))` of every pixel, nats. */
export function gaussianStepDivergence(q: StepLaw, p: StepLaw): Tensor {
  const logRatio = q.logVariance.sub(p.logVariance);
  const distance = q.mean.sub(p.mean).to(logRatio.dtype).square().mul(p.logVariance.neg().exp());
  return distance.add(logRatio.expm1()).sub(logRatio).mul(0.5);
}
