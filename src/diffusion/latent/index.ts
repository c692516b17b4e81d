/** Auxiliary latents by name. A new one is a file and a line here. */
import { z } from "zod";
import { choiceOf, createPart, partsOf } from "../../parts.js";
import { GaussianLatent } from "./gaussian.js";
import { KHotLatent } from "./k-hot.js";
import type { Latent } from "./latent.js";
import { OneHotLatent } from "./one-hot.js";
import { canListSubsets, mostSubsets } from "./plackett-luce.js";

export { categoricalDivergence, gaussianDivergence, logSubsets } from "./divergence.js";
export { GaussianLatent, gaussianDraw } from "./gaussian.js";
export { KHotLatent, type KHotOptions, type Projection, projectedTopK, topK } from "./k-hot.js";
export type { Latent, LatentDraw, LatentTensorOptions } from "./latent.js";
export { type GammaScale, gumbelOf, sumOfGamma } from "./noise.js";
export { gumbelSoftmax, gumbelTemperature, OneHotLatent } from "./one-hot.js";
export { logSubsetProbabilities, plackettLuceDivergence, subsetsOf } from "./plackett-luce.js";

const size = z.number().int().min(2).default(50);

const latent = partsOf<undefined, Latent>();

export const latents = [
  latent(
    "k-hot",
    {
      size,
      k: z.number().int().positive().default(15),
      noise: z.enum(["gamma", "gumbel"]).default("gamma"),
      gammaScale: z.enum(["official", "imle"]).default("official"),
      kl: z.enum(["categorical", "subset-upper", "plackett-luce"]).default("categorical"),
    },
    (o) => new KHotLatent(o),
  ),
  latent("one-hot", { size }, (o) => new OneHotLatent(o)),
  latent("gaussian", { size }, (o) => new GaussianLatent(o)),
] as const;

/** Which latent, with its options, as a config says it. */
export const latentSchema = choiceOf(latents)
  .refine((o) => o.kind !== "k-hot" || o.k < o.size, { message: "expected k below size", path: ["k"] })
  .refine((o) => o.kind !== "k-hot" || o.kl !== "plackett-luce" || o.noise === "gumbel", {
    message: "expected noise gumbel with kl plackett-luce, the law of the k largest under that noise",
    path: ["noise"],
  })
  .refine((o) => o.kind !== "k-hot" || o.kl !== "plackett-luce" || canListSubsets(o.size, o.k), {
    message: `expected at most ${mostSubsets} subsets with kl plackett-luce: a smaller size, or kl subset-upper`,
    path: ["kl"],
  });

export type LatentConfig = z.output<typeof latentSchema>;

/** The latent that a config names. */
export function createLatent(config: LatentConfig): Latent {
  return createPart(latents, config, undefined);
}
