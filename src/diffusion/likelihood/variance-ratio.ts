/** What a generative step of another variance than the posterior's costs (DiffEnc, section 3 and appendix F). */
import type { Tensor } from "../../torch/index.js";

/** `w - 1 - ln w` from `ln w`: nonnegative, twice the nats per dimension that `w = sigma_Q^2 / sigma_P^2` costs where the means agree. */
export function varianceCost(logRatio: Tensor): Tensor {
  return logRatio.expm1().sub(logRatio);
}

/**
 * The ratio at which a step's KL is least, `1 / (1 + E||mu_Q - mu_P||^2 / (D sigma_Q^2))`; `mismatch` is the expectation,
 * over data, of `||mu_Q - mu_P||^2 / sigma_Q^2`.
 */
export function optimalVarianceRatio(mismatch: Tensor, dimensions: number): Tensor {
  return mismatch.div(dimensions).add(1).reciprocal();
}
