/** Cold diffusion without latents, as a config says it, with its baselines in one word. */
import { z } from "zod";
import { UserError } from "../errors.js";
import { createLevelNetwork, levelNetworkSchema } from "../networks/level-networks.js";
import { ColdDiffusion } from "./cold.js";
import { coldModelKeys, distanceKey, lossOf, refusedKeys, walkOptions, withBaselines } from "./cold-model.js";
import { HeatDissipation, isHeat } from "./heat.js";
import type { BuiltSystem, SystemContext } from "./system-context.js";

/** What stands for other keys' defaults: DDPM, inverse heat dissipation, cold diffusion of clean images. */
const presets = {
  ddpm: { prediction: "eps", degradation: { kind: "noise" } },
  ihdm: { prediction: "previous", degradation: { kind: "blur", levels: 200 }, inputNoise: 0.01 },
  bansal: { prediction: "x0", degradation: { kind: "blur" }, startNoise: 0.002 },
} as const;

const baselines = Object.keys(presets) as (keyof typeof presets)[];

export const coldModel = withBaselines(
  z.strictObject({
    /** Defaults of a published system. */
    baseline: z.enum(["none", ...baselines]).default("none"),
    ...coldModelKeys,
    network: levelNetworkSchema,
    /** Absolute or squared differences; `auto`: absolute for clean images without inputNoise. */
    loss: distanceKey,
    /** Standard deviation of noise on the network's input in training, which it is to overlook. */
    overlookedNoise: z.number().min(0).default(0),
    /** Whether the last level is trained, which the code of Rissanen et al. never does. */
    trainedLevels: z.enum(["all", "without-last"]).default("all"),
    ...refusedKeys,
  }),
  { presets, network: "cold-unet" },
);

/** @throws UserError for parts that do not go together, and images that the degradation or network cannot take. */
export function createCold(config: z.output<typeof coldModel>, context: SystemContext): BuiltSystem {
  const { shape } = context;
  const [imageChannels, height, width] = shape;
  const walk = walkOptions(config, context);
  const network = createLevelNetwork(config.network, { imageChannels, height, width });
  const { prediction, inputNoise, lossWeighting, overlookedNoise, trainedLevels } = config;
  if (trainedLevels === "without-last" && walk.degradation.levels < 2)
    throw new UserError(
      "expected model.trainedLevels all for a degradation of one level, got without-last: nothing would be left to train",
    );
  const absolute = prediction === "x0" && inputNoise === 0;
  const options = {
    ...{ ...walk, network, lossWeighting, overlookedNoise },
    loss: lossOf(
      { distance: config.loss, reduction: config.reduction },
      { distance: absolute ? "l1" : "l2", reduction: "sum" },
    ),
    ...(trainedLevels === "without-last" ? { highestLevel: walk.degradation.levels - 1 } : {}),
  };
  const system = isHeat(options) ? new HeatDissipation(options) : new ColdDiffusion(options);
  return { system, network };
}
