/** DDGM as a config says it, and what DAED's config shares with it. */
import { z } from "zod";
import { betaScheduleSchema, createBetas } from "../diffusion/chain/betas.js";
import { GaussianChain } from "../diffusion/chain/gaussian-chain.js";
import { chainLosses } from "../diffusion/chain/objective.js";
import { learnsVariance, meanTypes, outputChannels, varianceTypes } from "../diffusion/chain/reverse.js";
import { stepSamplings } from "../diffusion/chain/step-sampling.js";
import { UserError } from "../errors.js";
import { createStepNetwork, type StepNetworkContext, stepNetworkSchema } from "../networks/step-networks.js";
import { DDGM } from "./ddgm.js";
import type { BuiltSystem, SystemContext } from "./system-context.js";

/** What the models of discrete chains have in common. */
export const chainModel = {
  network: stepNetworkSchema.prefault({ kind: "guided-unet" }),
  /** What the network predicts. */
  mean: z.enum(meanTypes).default("eps"),
  variance: z.enum(varianceTypes).default("fixed-large"),
  loss: z.enum(chainLosses).default("simple"),
  /** Whether the network is told the step's number t, or 1000 t / T. */
  timesteps: z.enum(["plain", "rescaled"]).default("plain"),
  /** Whether the network is told an image's class. */
  condition: z.enum(["none", "class"]).default("none"),
  /** Number of classes, where it is. */
  classes: z.number().int().positive().default(10),
} as const;

export const ddgmModel = z.strictObject({
  schedule: betaScheduleSchema.prefault({ kind: "linear" }),
  ...chainModel,
  /** Which steps a batch is trained on. */
  sampling: z.enum(stepSamplings).default("uniform"),
});

type ChainModel = z.output<z.ZodObject<typeof chainModel>>;

/** What a network of the model is told of its problem. */
export function networkContext(
  { variance, condition, classes }: Pick<ChainModel, "variance" | "condition" | "classes">,
  [channels, height, width]: SystemContext["shape"],
): StepNetworkContext {
  return {
    imageChannels: channels,
    outChannels: outputChannels({ variance }, channels),
    height,
    width,
    ...(condition === "class" ? { classes } : {}),
  };
}

/** @throws UserError for a loss that needs learned variances, without them */
export function checkLoss({ loss, variance }: Pick<ChainModel, "loss" | "variance">): void {
  if (loss === "hybrid" && !learnsVariance(variance))
    throw new UserError(
      `expected model.variance learned-range or learned with model.loss hybrid, got ${variance}: there would be nothing for its second part to train`,
    );
}

/** @throws UserError for betas outside (0, 1), and parts that do not go together. */
export function createDdgm(config: z.output<typeof ddgmModel>, { shape }: SystemContext): BuiltSystem {
  checkLoss(config);
  const { mean, variance, loss, sampling, timesteps } = config;
  const chain = new GaussianChain(createBetas(config.schedule));
  const network = createStepNetwork(config.network, networkContext(config, shape));
  const system = new DDGM({
    shape,
    chain,
    network,
    type: { mean, variance },
    loss,
    sampling,
    ...(timesteps === "rescaled" ? { timestepScale: 1000 / chain.length } : {}),
  });
  return { system, network };
}
