/** How a chain is walked back. A new sampler is a function and a line in `chainSamplers`. */
import { UserError } from "../../errors.js";
import { didYouMean } from "../../nearest.js";
import { full, type Tensor } from "../../torch/index.js";
import type { GaussianChain } from "./gaussian-chain.js";
import type { ReverseStep } from "./reverse.js";

export interface ChainSamplerStep {
  readonly chain: GaussianChain;
  readonly x: Tensor;
  /** int64 `[B]` */
  readonly t: Tensor;
  /** p(x_{t-1} | x_t) */
  readonly step: ReverseStep;
  /** Of DDIM: 0 is deterministic, 1 has the posterior's variance. */
  readonly eta: number;
  /** A fresh standard normal draw of x's shape. */
  noise(): Tensor;
}

/** From x_t to x_{t-1}. */
export type ChainSampler = (at: ChainSamplerStep) => Tensor;

/** 1 for the steps that are not the last, `[B, 1, 1, 1]`. */
function beforeTheLast(t: Tensor, like: Tensor): Tensor {
  return t
    .eq(0)
    .to(like.dtype)
    .rsub(1)
    .reshape([-1, ...like.shape.slice(1).map(() => 1)]);
}

/** `mean + exp(logVariance / 2) noise`, and the mean itself at t = 0. */
export const ancestralStep: ChainSampler = ({ x, t, step, noise }) =>
  step.mean.add(step.logVariance.mul(0.5).exp().mul(beforeTheLast(t, x)).mul(noise()));

/**
 * `sqrt(abar_{t-1}) xHat + sqrt(1 - abar_{t-1} - sigma^2) eps + sigma noise`, eps that of xHat (Song, Meng, Ermon, 2020),
 * `sigma = eta sqrt((1 - abar_{t-1}) / (1 - abar_t) (1 - abar_t / abar_{t-1}))`; no noise at t = 0.
 */
export const ddimStep: ChainSampler = ({ chain, x, t, step: { xHat }, eta, noise }) => {
  const before = chain.at("alphasCumprodPrev", t, x);
  const eps = chain.noiseFromImage(x, xHat, t);
  const sigma = chain.at("posteriorVariance", t, x).sqrt().mul(eta);
  const rest = before.rsub(1).sub(sigma.square()).clamp(0).sqrt();
  const mean = before.sqrt().mul(xHat).add(rest.mul(eps));
  return eta === 0 ? mean : mean.add(sigma.mul(beforeTheLast(t, x)).mul(noise()));
};

/** DDIM upwards, from x_t to x_{t+1}, without noise: `sqrt(abar_{t+1}) xHat + sqrt(1 - abar_{t+1}) eps`. */
export function ddimReverseStep({
  chain,
  x,
  t,
  step: { xHat },
}: Pick<ChainSamplerStep, "chain" | "x" | "t" | "step">): Tensor {
  const after = chain.at("alphasCumprodNext", t, x);
  const eps = chain.noiseFromImage(x, xHat, t);
  return after.sqrt().mul(xHat).add(after.rsub(1).sqrt().mul(eps));
}

interface NamedSampler {
  readonly step: ChainSampler;
  readonly clip?: "clip";
}

/** The ways by name: `-clipped` ones keep predicted images within [-1, 1]. */
const chainSamplers: Readonly<Record<string, NamedSampler>> = {
  ancestral: { step: ancestralStep },
  "ancestral-clipped": { step: ancestralStep, clip: "clip" },
  ddim: { step: ddimStep },
  "ddim-clipped": { step: ddimStep, clip: "clip" },
};

export const chainSamplerNames: readonly string[] = Object.keys(chainSamplers);

/** @throws UserError for a sampler that chains do not have, with the nearest name */
export function chainSamplerNamed(name: string): NamedSampler {
  const sampler = Object.hasOwn(chainSamplers, name) ? chainSamplers[name] : undefined;
  if (!sampler)
    throw new UserError(
      `expected a sampler of a discrete chain, got "${name}"${didYouMean(name, chainSamplerNames)}`,
    );
  return sampler;
}

/** The same step for each image of `like`, int64 `[B]`. */
export function sameStep(t: number, like: Tensor): Tensor {
  return full([like.dim(0)], t, { dtype: "int64", device: like.device });
}
