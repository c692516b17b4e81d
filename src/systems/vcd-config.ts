/** Variational cold diffusion as a config says it. */
import { z } from "zod";
import { teacherCounters } from "../diffusion/cold/kl-weight.js";
import { UserError } from "../errors.js";
import { createLatentNetwork, latentNetworkSchema } from "../networks/level-networks.js";
import { coldModelKeys, lossOf, refusedKeys, walkOptions, withBaselines } from "./cold-model.js";
import type { BuiltSystem, SystemContext } from "./system-context.js";
import { latentModes, perturbations, VariationalColdDiffusion } from "./vcd.js";

const presets = {
  "vae-xt": { prediction: "previous" },
  "vae-x0": { prediction: "x0" },
} as const;

const baselines = Object.keys(presets) as (keyof typeof presets)[];

const probability = z.number().min(0).max(1);

export const vcdModel = withBaselines(
  z.strictObject({
    /** Defaults of a published system. */
    baseline: z.enum(["none", ...baselines]).default("none"),
    ...coldModelKeys,
    network: latentNetworkSchema,
    /** What the divergence of the latent is multiplied with. */
    beta: z.number().min(0).default(0.004),
    /** Training steps over which that factor is raised; 0 for none. */
    klAnnealing: z.number().int().min(0).default(0),
    /** Inputs that are not quite true: a teacher's (vcd), with white noise (vwd), or both. */
    perturbation: z.enum(perturbations).default("none"),
    /** Standard deviation of the white noise of vwd. */
    overlookedNoise: z.number().min(0).default(0.002),
    /** The teacher of vcd. */
    teacher: z
      .strictObject({
        /** Whose state an image's input is: that of its own level, or of its target's, as the last official code has it. */
        level: z.enum(["input", "target"]).default("input"),
        /** Chance of going on from the true state at each level. */
        resetProbability: probability.default(0.125),
        /** The same until the teacher has the averaged weights. */
        warmResetProbability: probability.default(0.3),
        /** Steps after which it has. */
        warmup: z.number().int().min(0).default(500),
        /** What counts these steps: the training, or the annealing as in the official code. */
        counter: z.enum(teacherCounters).default("official"),
      })
      .prefault({}),
    /** Share of the pixels of the network's input, behind the encoder, that training leaves out. */
    inputDropout: z.number().min(0).lt(1).default(0),
    /** Whether a sample has one latent for all its steps, or one for each. */
    latentMode: z.enum(latentModes).default("shared"),
    ...refusedKeys,
  }),
  { presets, network: "variational-unet" },
);

/** @throws UserError for parts that do not go together, and images that the degradation or network cannot take. */
export function createVcd(config: z.output<typeof vcdModel>, context: SystemContext): BuiltSystem {
  checkTeacher(config);
  const [imageChannels, height, width] = context.shape;
  const network = createLatentNetwork(config.network, { imageChannels, height, width });
  const { lossWeighting, beta, klAnnealing, perturbation, overlookedNoise } = config;
  const { teacher, inputDropout, latentMode, prediction, reduction } = config;
  const system = new VariationalColdDiffusion({
    ...{ ...walkOptions(config, context), network, lossWeighting, beta, klAnnealing, perturbation },
    ...{ overlookedNoise, teacher, inputDropout, latentMode },
    loss: lossOf(
      { distance: "l2", reduction },
      { distance: "l2", reduction: prediction === "previous" ? "sum" : "mean" },
    ),
  });
  return { system, network };
}

/** A teacher goes from a level to the next, which it has to be trained for. */
function checkTeacher({ perturbation, prediction, jump, trainedJumps }: z.output<typeof vcdModel>): void {
  if (perturbation !== "vcd" && perturbation !== "both") return;
  if (prediction !== "previous")
    throw new UserError(
      `expected model.prediction previous with model.perturbation ${perturbation}, whose teacher goes level by level, got ${prediction}: set perturbation to none or vwd`,
    );
  if (trainedJumps === "multiples" && jump > 1)
    throw new UserError(
      `expected model.jump 1 with model.perturbation ${perturbation}, whose teacher goes level by level, got multiples of ${jump}: set jump to 1`,
    );
}
