/** The terms of a variational bound, and the one place where nats become bits per dimension. */
import type { Tensor } from "../../torch/index.js";

/** Terms of `-log p(x) <= ...` in nats per image, each `[B]`. A system may have more terms than these three. */
export interface Bound {
  readonly reconstruction: Tensor;
  readonly prior: Tensor;
  readonly diffusion: Tensor;
  readonly [extra: string]: Tensor;
}

/** Nats per image to bits per dimension. */
export function bitsPerDim(nats: Tensor, dimensions: number): Tensor {
  return nats.div(dimensions * Math.LN2);
}

/** The bound of each image, `[B]`, in nats. */
export function totalBound(bound: Bound): Tensor {
  return Object.values(bound).reduce((sum, term) => sum.add(term));
}

/** Sum over everything but the batch. */
export function perExample(values: Tensor): Tensor {
  return values.flatten(1).sum([1]);
}

/**
 * `KL(N(alpha_1 f, sigma_1^2) || N(0, 1))` per image: `1/2 sum(alpha_1^2 f^2 + sigma_1^2 - 1 - ln sigma_1^2)`, written with
 * `sigma^2 - 1 = -alpha^2` and `-ln sigma^2 = softplus(-gamma)` (VDM, eq. 11).
 * `gamma1`: `[1]`, or of f's rank and a shape that broadcasts to f's.
 */
export function priorDivergence(f: Tensor, gamma1: Tensor): Tensor {
  const alpha2 = gamma1.neg().sigmoid();
  const rest = gamma1.neg().softplus().sub(alpha2);
  if (gamma1.rank > 1) return perExample(f.square().to(gamma1.dtype).mul(alpha2).add(rest)).mul(0.5);
  const dimensions = f.size / f.dim(0);
  const squares = perExample(f.square()).to(gamma1.dtype);
  return squares.mul(alpha2).add(rest.mul(dimensions)).mul(0.5);
}
