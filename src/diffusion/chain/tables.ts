/** Everything about a discrete chain that follows from its betas alone, step by step, in double precision. */
import { checkBetas } from "./betas.js";

/**
 * One number a step, index t = 0 .. T - 1. The state of index t has gone through t + 1 steps:
 * `q(x_t | x_0) = N(sqrt(abar_t) x_0, 1 - abar_t)`.
 */
export interface ChainTables {
  readonly betas: Float64Array;
  /** `abar_t = prod_{s <= t} (1 - beta_s)` */
  readonly alphasCumprod: Float64Array;
  /** `abar_{t-1}`, 1 at t = 0. */
  readonly alphasCumprodPrev: Float64Array;
  /** `abar_{t+1}`, 0 at T - 1. */
  readonly alphasCumprodNext: Float64Array;
  readonly sqrtAlphasCumprod: Float64Array;
  readonly sqrtOneMinusAlphasCumprod: Float64Array;
  readonly logOneMinusAlphasCumprod: Float64Array;
  /** `sqrt(1 / abar_t)` */
  readonly sqrtRecipAlphasCumprod: Float64Array;
  /** `sqrt(1 / abar_t - 1)` */
  readonly sqrtRecipm1AlphasCumprod: Float64Array;
  /** `beta_t (1 - abar_{t-1}) / (1 - abar_t)`, the variance of q(x_{t-1} | x_t, x_0); 0 at t = 0. */
  readonly posteriorVariance: Float64Array;
  /** Its logarithm, with that of t = 1 at t = 0. */
  readonly posteriorLogVarianceClipped: Float64Array;
  /** Of x_0 in the mean of q(x_{t-1} | x_t, x_0): `beta_t sqrt(abar_{t-1}) / (1 - abar_t)`. */
  readonly posteriorMeanCoef1: Float64Array;
  /** Of x_t in it: `(1 - abar_{t-1}) sqrt(1 - beta_t) / (1 - abar_t)`. */
  readonly posteriorMeanCoef2: Float64Array;
  /** `ln beta_t`, with `ln posteriorVariance[1]` at t = 0: the larger of the two fixed variances. */
  readonly fixedLargeLogVariance: Float64Array;
}

/**
 * Those of `beta_0 .. beta_{T-1}`, `[T]` each, float64 (Ho et al., 2020, eq. 4, 6 and 7 for what they mean).
 * @throws UserError unless there are two betas at least, all inside (0, 1)
 */
export function chainTables(given: readonly number[]): ChainTables {
  const betas = Float64Array.from(checkBetas(given));
  const each = (value: (t: number) => number) => Float64Array.from(betas, (_, t) => value(t));
  const at = (table: Float64Array, t: number) => table[t] as number;
  const alphasCumprod = new Float64Array(betas.length);
  for (let t = 0, product = 1; t < betas.length; t++) {
    product *= 1 - at(betas, t);
    alphasCumprod[t] = product;
  }
  const abar = (t: number) => at(alphasCumprod, t);
  const before = (t: number) => (t === 0 ? 1 : abar(t - 1));
  const posteriorVariance = each((t) => (at(betas, t) * (1 - before(t))) / (1 - abar(t)));
  const lowest = Math.log(at(posteriorVariance, 1));
  return {
    betas,
    alphasCumprod,
    alphasCumprodPrev: each(before),
    alphasCumprodNext: each((t) => (t + 1 < betas.length ? abar(t + 1) : 0)),
    sqrtAlphasCumprod: each((t) => Math.sqrt(abar(t))),
    sqrtOneMinusAlphasCumprod: each((t) => Math.sqrt(1 - abar(t))),
    logOneMinusAlphasCumprod: each((t) => Math.log(1 - abar(t))),
    sqrtRecipAlphasCumprod: each((t) => Math.sqrt(1 / abar(t))),
    sqrtRecipm1AlphasCumprod: each((t) => Math.sqrt(1 / abar(t) - 1)),
    posteriorVariance,
    posteriorLogVarianceClipped: each((t) => (t === 0 ? lowest : Math.log(at(posteriorVariance, t)))),
    posteriorMeanCoef1: each((t) => (at(betas, t) * Math.sqrt(before(t))) / (1 - abar(t))),
    posteriorMeanCoef2: each((t) => ((1 - before(t)) * Math.sqrt(1 - at(betas, t))) / (1 - abar(t))),
    fixedLargeLogVariance: each((t) => (t === 0 ? lowest : Math.log(at(betas, t)))),
  };
}

/**
 * The step whose noise is closest to one step of variance `firstBeta`: `argmin_t |abar_t - (1 - firstBeta)|`, the first of
 * equals. A denoiser of that variance stands in for the steps 0 .. k.
 */
export function switchIndex(
  { alphasCumprod }: Pick<ChainTables, "alphasCumprod">,
  firstBeta: number,
): number {
  let best = 0;
  for (const [t, abar] of alphasCumprod.entries())
    if (Math.abs(abar - (1 - firstBeta)) < Math.abs((alphasCumprod[best] as number) - (1 - firstBeta)))
      best = t;
  return best;
}
