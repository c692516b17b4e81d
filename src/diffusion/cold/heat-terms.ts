/** The terms of the variational bound of inverse heat dissipation (Rissanen et al., 2023), nats per image. */
import type { Tensor } from "../../torch/index.js";

/** The two noises of the chain, and how many numbers they are added to. */
export interface HeatNoise {
  /** sigma, the deviation of `q(u_k | u_0) = N(A_k u_0, sigma^2)`. */
  readonly forward: number;
  /** delta, the deviation of `p(u_{k-1} | u_k)` and of every image that the prior is a mixture of. */
  readonly reverse: number;
  /** d = C H W */
  readonly dimensions: number;
}

/**
 * `KL(N(a, sigma^2) || N(b, delta^2)) = 1/2 [d sigma^2 / delta^2 + ||a - b||^2 / delta^2 - d + 2 d ln(delta / sigma)]`: of step
 * k = 2 .. K, the term L_{k-1}, where `squaredError` is `||A_{k-1} u_0 - mu(u_k, k)||^2`.
 *
 * @param squaredError any shape, one an image
 * @returns float64, as float32 would lose what is left of large constants
 */
export function heatStepTerm(squaredError: Tensor, { forward, reverse, dimensions }: HeatNoise): Tensor {
  const ratio = (forward / reverse) ** 2;
  return squaredError
    .to("float64")
    .div(reverse ** 2)
    .add(dimensions * (ratio - 1 - Math.log(ratio)))
    .mul(0.5);
}

/**
 * `L_0 = -ln N(u_0; mu(u_1, 1), delta^2) = ||u_0 - mu(u_1, 1)||^2 / (2 delta^2) + d ln(delta sqrt(2 pi))`: a density of images
 * in [0, 1], to which `d ln 256` has to be added for the probability of bytes.
 */
export function heatReconstructionTerm(squaredError: Tensor, { reverse, dimensions }: HeatNoise): Tensor {
  return squaredError
    .to("float64")
    .div(2 * reverse ** 2)
    .add(dimensions * Math.log(reverse * Math.sqrt(2 * Math.PI)));
}

/**
 * A bound of `L_K = KL(q(u_K | u_0) || 1/N sum_i N(A_K u^(i), delta^2))`, N training images: `ln N - logsumexp_i(-KL_i)`, the
 * least that the convexity of the divergence allows.
 *
 * @param squaredDistances `||A_K u^(i) - A_K u_0||^2`, `[B, N]`
 * @returns float64 `[B]`
 */
export function heatPriorTerm(squaredDistances: Tensor, noise: HeatNoise): Tensor {
  const each = heatStepTerm(squaredDistances, noise);
  return each
    .neg()
    .logSumExp([1])
    .rsub(Math.log(each.dim(1)));
}
