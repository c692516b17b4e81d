/** The reverse of a chain: what a network's output says about p(x_{t-1} | x_t) (Nichol, Dhariwal, 2021). */
import type { Tensor } from "../../torch/index.js";
import type { GaussianChain, Normal } from "./gaussian-chain.js";

/** What the network predicts: the noise, the image, or the mean of the state before. */
export const meanTypes = ["eps", "x0", "previous"] as const;
export type MeanType = (typeof meanTypes)[number];

/**
 * The variance of a step: that of the posterior (`fixed-small`), beta_t (`fixed-large`), the exponential of what the
 * network says (`learned`), or between the first two, as the network says (`learned-range`).
 */
export const varianceTypes = ["fixed-small", "fixed-large", "learned", "learned-range"] as const;
export type VarianceType = (typeof varianceTypes)[number];

export interface ReverseType {
  readonly mean: MeanType;
  readonly variance: VarianceType;
}

/** p(x_{t-1} | x_t) with the image that it goes by. */
export interface ReverseStep extends Normal {
  /** The clean image as predicted, clipped where that was asked for. */
  readonly xHat: Tensor;
}

/** What happens to a predicted image before the mean is formed; clipping to [-1, 1] comes last. */
export interface ImageCorrection {
  readonly clip?: "clip" | undefined;
  readonly change?: ((xHat: Tensor) => Tensor) | undefined;
}

/** Channels of the network's output for images of `channels`. */
export function outputChannels({ variance }: Pick<ReverseType, "variance">, channels: number): number {
  return learnsVariance(variance) ? 2 * channels : channels;
}

export function learnsVariance(variance: VarianceType): boolean {
  return variance === "learned" || variance === "learned-range";
}

/** The output's two halves, mean first; there is no second where variances are fixed. */
export function outputHalves(
  out: Tensor,
  channels: number,
): { readonly mean: Tensor; readonly variance?: Tensor } {
  if (out.dim(1) === channels) return { mean: out };
  return { mean: out.narrow(1, 0, channels), variance: out.narrow(1, channels, channels) };
}

/** The output's first half, and what of the chain makes a distribution of it. */
function imageOf(mean: Tensor, x: Tensor, t: Tensor, o: { chain: GaussianChain; type: MeanType }): Tensor {
  const { chain, type } = o;
  switch (type) {
    case "eps":
      return chain.imageFromNoise(x, mean, t);
    case "x0":
      return mean;
    case "previous": {
      const coef1 = chain.at("posteriorMeanCoef1", t, x);
      const coef2 = chain.at("posteriorMeanCoef2", t, x);
      return mean.div(coef1).sub(coef2.div(coef1).mul(x));
    }
    default:
      return type satisfies never;
  }
}

/**
 * p(x_{t-1} | x_t) from the network's output at `x` = x_t: `coef1 xHat + coef2 x_t`, or the output itself where it is
 * the mean already (whose correction then shows in `xHat` alone).
 *
 * @param out `[B, C or 2C, H, W]`; @param t the chain's own indices, int64 `[B]`
 */
export function reverseStep(
  chain: GaussianChain,
  type: ReverseType,
  at: { readonly out: Tensor; readonly x: Tensor; readonly t: Tensor },
  correction: ImageCorrection = {},
): ReverseStep {
  const { x, t } = at;
  const halves = outputHalves(at.out, x.dim(1));
  const predicted = imageOf(halves.mean, x, t, { chain, type: type.mean });
  const changed = correction.change ? correction.change(predicted) : predicted;
  const xHat = correction.clip ? changed.clamp(-1, 1) : changed;
  return {
    xHat,
    mean: type.mean === "previous" ? halves.mean : chain.posteriorMean(xHat, x, t),
    logVariance: logVarianceOf(chain, type.variance, { ...at, variance: halves.variance }),
  };
}

function logVarianceOf(
  chain: GaussianChain,
  type: VarianceType,
  { variance, x, t }: { readonly variance?: Tensor | undefined; readonly x: Tensor; readonly t: Tensor },
): Tensor {
  if (type === "fixed-large") return chain.at("fixedLargeLogVariance", t, x);
  const least = chain.at("posteriorLogVarianceClipped", t, x);
  if (type === "fixed-small") return least;
  if (!variance)
    throw new Error(`expected ${2 * x.dim(1)} channels of output for ${type} variances, got ${x.dim(1)}`);
  if (type === "learned") return variance;
  // ln beta_t itself at t = 0 too: the network may choose it there.
  const largest = chain.at("betas", t, x).log();
  const u = variance.add(1).div(2);
  return u.mul(largest).add(u.rsub(1).mul(least));
}
