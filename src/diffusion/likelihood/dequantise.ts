/** From whole pixels to a continuous density and back: noise inside a pixel's bin, and what it costs. */
import { full, type Generator, operator, rand, scope, type Tensor, tensor } from "../../torch/index.js";
import { bitsPerDim } from "./bound.js";
import { standardNormalLogDensity } from "./flow.js";

const erf = operator("aten::erf");

export const dequantisations = ["truncated-normal", "uniform"] as const;
export type DequantisationKind = (typeof dequantisations)[number];

/** The standard normal cut off at both ends. */
export interface TruncatedNormal {
  /** The cut: `|e| < tau`. */
  readonly tau: number;
  /** Z, the probability that a standard normal draw is within: `erf(tau / sqrt 2)`. */
  readonly mass: number;
  /** Nats of one number: `1/2 (1 + log 2 pi) + log Z - tau phi(tau) / Z`. */
  readonly entropy: number;
}

export function truncatedNormal(tau: number): TruncatedNormal {
  const mass = scope(() => erf(tensor([tau / Math.SQRT2], { dtype: "float64" })).item());
  const edge = Math.exp((-tau * tau) / 2) / Math.sqrt(2 * Math.PI);
  const entropy = (1 + Math.log(2 * Math.PI)) / 2 + Math.log(mass) - (tau * edge) / mass;
  return { tau, mass, entropy };
}

/** Draws from uniform ones in [0, 1) by the inverse distribution function, `e = sqrt 2 erfinv((2u - 1) Z)`. */
export function truncatedNormalDraws(uniform: Tensor, { tau, mass }: TruncatedNormal): Tensor {
  return uniform.mul(2).sub(1).mul(mass).erfinv().mul(Math.SQRT2).clamp(-tau, tau);
}

/** `log q(e) = sum log N(e; 0, 1) - D log Z` of each image, `[B]`. */
export function truncatedNormalLogDensity(e: Tensor, { mass }: TruncatedNormal): Tensor {
  return standardNormalLogDensity(e).sub((e.size / e.dim(0)) * Math.log(mass));
}

/** A continuous start y of the ODE for each image, and how dense such starts are about it. */
export interface Dequantised {
  /** `[B, ...]` float64. */
  readonly start: Tensor;
  /** `log q(y | x)` `[B]`, nats per image. */
  readonly logQ: Tensor;
}

/** Noise inside the bins of pixels. With P(x) the mass of p in a bin, `-log P(x) <= E[log q(y | x) - log p(y)]`. */
export interface Dequantiser {
  /** `-E[log q(y | x)]` in nats per dimension. */
  readonly entropy: number;
  /** @param x0 encoded images in [-1, 1]; @param uniform numbers in [0, 1), float64, of x0's shape */
  dequantise(x0: Tensor, uniform: Tensor): Dequantised;
}

export interface DequantiserOptions {
  /** gamma(0), `[1]`: the noise at the ODE's start. */
  readonly gamma0: Tensor;
  /** V, values of a pixel. */
  readonly levels: number;
}

/** `y = x_0 + u`, `u ~ U(-1/V, 1/V)`; `log q = log(V/2)` per dimension, always. */
function uniformDequantiser(levels: number): Dequantiser {
  const logQ = Math.log(levels / 2);
  return {
    entropy: -logQ,
    dequantise: (x0, uniform) =>
      scope(() => {
        const start = x0.add(uniform.mul(2).sub(1).div(levels));
        const { dtype, device } = start;
        return { start, logQ: full([x0.dim(0)], (x0.size / x0.dim(0)) * logQ, { dtype, device }) };
      }),
  };
}

/** `y = alpha_0 x_0 + sigma_0 e`, with e cut off where y leaves the bin: `tau = exp(-gamma_0 / 2) / V`. */
function truncatedNormalDequantiser(gamma0: number, levels: number): Dequantiser {
  const normal = truncatedNormal(Math.exp(-gamma0 / 2) / levels);
  const logAlpha0 = -Math.log1p(Math.exp(gamma0)) / 2;
  const logSigma0 = gamma0 / 2 + logAlpha0;
  return {
    entropy: normal.entropy + logSigma0,
    dequantise: (x0, uniform) =>
      scope(() => {
        const e = truncatedNormalDraws(uniform, normal);
        const start = x0
          .to("float64")
          .mul(Math.exp(logAlpha0))
          .add(e.mul(Math.exp(logSigma0)));
        const logQ = truncatedNormalLogDensity(e, normal).sub((e.size / e.dim(0)) * logSigma0);
        return { start, logQ };
      }),
  };
}

/**
 * - `uniform` noise fills the bin evenly.
 * - `truncated-normal` noise is what the ODE's start is like, so that its bound is tighter (Zheng et al. 2023,
 *   arXiv 2305.03935; MuLAN's default).
 */
export function dequantiser(kind: DequantisationKind, options: DequantiserOptions): Dequantiser {
  const { gamma0, levels } = options;
  switch (kind) {
    case "uniform":
      return uniformDequantiser(levels);
    case "truncated-normal":
      return truncatedNormalDequantiser(gamma0.item(), levels);
    default:
      return kind satisfies never;
  }
}

/** What a dequantiser takes for images like x0: independent, uniform in [0, 1), float64. */
export function drawUniform(x0: Tensor, generator: Generator): Tensor {
  return rand(x0.shape, generator, { dtype: "float64", device: x0.device });
}

/** `-log P(x) <= -log(1/K sum_k p(y_k) / q(y_k | x))`, nats `[B]`, of K draws: logP and logQ are `[K, B]`. */
export function importanceBound(logP: Tensor, logQ: Tensor): Tensor {
  const draws = logP.dim(0);
  return logP.sub(logQ).logSumExp([0]).rsub(Math.log(draws)); // logSumExp subtracts the maximum: weights are 10^4 nats
}

export interface FlowBits {
  /** log p(y_k), `[K, B]`, nats per image. */
  readonly logP: Tensor;
  /** log q(y_k | x), `[K, B]`, nats per image. */
  readonly logQ: Tensor;
  /** Of the dequantiser. */
  readonly entropy: number;
  /** D, numbers in an image. */
  readonly dimensions: number;
  /** Divergence charged for what the flow is conditioned on, `[B]`. */
  readonly kl?: Tensor | undefined;
}

/**
 * Bits per dimension of each image, `[B]`: with one draw `-log p(y)` less the entropy of q, which is
 * `E[log q(y | x)]` without its noise; with several the importance-weighted bound. The KL is added to either.
 */
export function flowBitsPerDim({ logP, logQ, entropy, dimensions, kl }: FlowBits): Tensor {
  return scope(() => {
    const one = logP.dim(0) === 1;
    const nats = one ? logP.select(0, 0).rsub(-entropy * dimensions) : importanceBound(logP, logQ);
    return bitsPerDim(kl ? nats.add(kl) : nats, dimensions);
  });
}
