/** The losses of a chain: its bound step by step, the squared error of Ho et al. (2020), and their combinations. */
import { cat, type Tensor } from "../../torch/index.js";
import { normalDivergence, quantisedNormalLogLikelihood } from "../likelihood/quantised-normal.js";
import type { GaussianChain } from "./gaussian-chain.js";
import {
  type ImageCorrection,
  learnsVariance,
  outputHalves,
  type ReverseStep,
  type ReverseType,
  reverseStep,
} from "./reverse.js";

/**
 * `simple`: the squared error of the output's mean half, plus the bound's term where variances are learned. `hybrid`: the
 * same with the term times T / 1000. `kl`: the term. `vlb`: T times the term, the bound in bits/dim up to its prior.
 * In `simple` and `hybrid` the term trains the variances alone.
 */
export const chainLosses = ["simple", "hybrid", "kl", "vlb"] as const;
export type ChainLoss = (typeof chainLosses)[number];

/**
 * What stands for `-ln p(x_0 | x_1)` in the bound's term of step 0: the likelihood of the 256 levels under the step's own
 * variance (DDGM); the same with variance beta_0 (DAED, evaluated); or the squared error of its mean (DAED, trained).
 */
export type FirstTerm = "quantised" | "quantised-first-beta" | "squared-error";

/** A network's output at a noised image, and what it was noised from. */
export interface ChainDraw {
  readonly x0: Tensor;
  readonly xt: Tensor;
  /** int64 `[B]` */
  readonly t: Tensor;
  readonly noise: Tensor;
  /** `[B, C or 2C, H, W]` */
  readonly out: Tensor;
}

/** Mean over everything but the batch, in float64. */
function meanPerImage(values: Tensor): Tensor {
  return values.flatten(1).to("float64").mean([1]);
}

export interface BoundTerm {
  /** Bits per dimension, `[B]`. */
  readonly bits: Tensor;
  readonly step: ReverseStep;
}

/**
 * The bound's term of step t, a mean over dimensions: `KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) / ln 2`, and at t = 0
 * what `first` says.
 */
export function boundTerm(
  chain: GaussianChain,
  type: ReverseType,
  { x0, xt, t, out }: Omit<ChainDraw, "noise">,
  { first = "quantised", ...correction }: ImageCorrection & { readonly first?: FirstTerm } = {},
): BoundTerm {
  const step = reverseStep(chain, type, { out, x: xt, t }, correction);
  const posterior = chain.posterior(x0, xt, t);
  const divergence = meanPerImage(
    normalDivergence(posterior.mean, posterior.logVariance, step.mean, step.logVariance),
  ).div(Math.LN2);
  return { bits: t.eq(0).where(firstTerm(chain, step, { x0, t, first }), divergence), step };
}

function firstTerm(
  chain: GaussianChain,
  { mean, logVariance }: ReverseStep,
  { x0, t, first }: { readonly x0: Tensor; readonly t: Tensor; readonly first: FirstTerm },
): Tensor {
  if (first === "squared-error") return meanPerImage(mean.sub(x0).square());
  const chosen = first === "quantised" ? logVariance : chain.at("betas", t.mul(0), x0).log();
  return meanPerImage(quantisedNormalLogLikelihood(x0, mean, chosen.mul(0.5))).div(-Math.LN2);
}

/** What the squared error is of: the noise, the image, or the posterior's mean. */
function meanTarget(
  chain: GaussianChain,
  type: ReverseType,
  { x0, xt, t, noise }: Omit<ChainDraw, "out">,
): Tensor {
  switch (type.mean) {
    case "eps":
      return noise;
    case "x0":
      return x0;
    case "previous":
      return chain.posteriorMean(x0, xt, t);
    default:
      return type.mean satisfies never;
  }
}

export interface ChainLosses {
  /** What is minimised, `[B]`. */
  readonly loss: Tensor;
  /** Mean squared error over dimensions, where it is part of the loss. */
  readonly mse?: Tensor;
  /** The bound's term as it enters the loss, where it does. */
  readonly vb?: Tensor;
}

/**
 * The loss of each image at its step.
 *
 * @param first how step 0 counts. With `squared-error` (DAED) the chain's other T - 1 steps are what the term is scaled
 *   by, and in `hybrid` step 0 has the squared error alone.
 */
export function chainLoss(
  chain: GaussianChain,
  type: ReverseType,
  draw: ChainDraw,
  { loss, first = "quantised" }: { readonly loss: ChainLoss; readonly first?: FirstTerm },
): ChainLosses {
  const steps = first === "squared-error" ? chain.length - 1 : chain.length;
  if (loss === "kl" || loss === "vlb") {
    const { bits } = boundTerm(chain, type, draw, { first });
    return { loss: loss === "vlb" ? bits.mul(steps) : bits, vb: bits };
  }
  const { mean, variance } = outputHalves(draw.out, draw.x0.dim(1));
  const mse = meanPerImage(meanTarget(chain, type, draw).sub(mean).square());
  if (!variance || !learnsVariance(type.variance)) return { loss: mse, mse };
  const { bits } = boundTerm(chain, type, { ...draw, out: cat([mean.detach(), variance], 1) }, { first });
  const scaled = loss === "hybrid" ? bits.mul(steps / 1000) : bits;
  const vb = first === "squared-error" ? draw.t.eq(0).where(scaled.mul(0), scaled) : scaled;
  return { loss: mse.add(vb), mse, vb };
}
