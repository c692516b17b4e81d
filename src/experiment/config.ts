/** What an experiment is: every key of a config, its type and its default. */
import { z } from "zod";
import { variantNames } from "../data/index.js";
import { samplerNames } from "../diffusion/sampler/index.js";
import { models, systems } from "../systems/index.js";

const positive = z.number().int().positive();

const common = {
  data: z
    .strictObject({
      /** A known data set, a registered one, or a format (`images`, `npz`, `idx`, `parquet`) with a path. */
      name: z.string().min(1).default("fashion-mnist"),
      path: z.string().optional(),
      /** Side of the square that images are cropped and resized to. */
      size: positive.optional(),
      /** Synthetic images made of the set's own. */
      variant: z.enum(variantNames).default("none"),
      augment: z.enum(["none", "flip-rotate", "flip-rotate-channels"]).default("none"),
      /** Which split is measured. */
      evaluationSplit: z.enum(["train", "validation", "test"]).default("test"),
    })
    .prefault({}),
  train: z
    .strictObject({
      steps: positive.default(10_000),
      /** Stops after so many minutes, if that is earlier. */
      minutes: z.number().positive().nullable().default(null),
      batchSize: positive.default(128),
      seed: z.number().int().min(0).default(1),
      /** Steps as a CUDA graph, for models and optimisers that can: see docs/gpu.md. */
      graph: z.enum(["off", "on"]).default("off"),
      /** A run whose averaged weights this one starts from, by name; what it lacks is drawn. */
      from: z.string().nullable().default(null),
      /** Trains only the parameters whose names begin so, e.g. `[schedule]`; all where empty. */
      only: z.array(z.string().min(1)).default([]),
      /** `levels`: gradient checkpointing, for less memory and more time. Blocks of U-Nets are computed again for the gradient. */
      recompute: z.enum(["none", "levels"]).default("none"),
      logEvery: positive.default(100),
      checkpointEvery: positive.default(1000),
      /** Checkpoints kept besides that of step 0. */
      keepCheckpoints: positive.default(3),
      /** A grid of samples every so many steps; 0 for none. */
      sampleEvery: z.number().int().min(0).default(5000),
      /** Bits/dim of the evaluation split every so many steps; 0 for none. */
      evaluateEvery: z.number().int().min(0).default(0),
    })
    .prefault({}),
  optimiser: z
    .strictObject({
      learningRate: z.number().positive().default(2e-4),
      betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]).default([0.9, 0.99]),
      epsilon: z.number().positive().default(1e-8),
      weightDecay: z.number().min(0).default(0.01),
      warmupSteps: z.number().int().min(0).default(100),
      decay: z.enum(["constant", "linear", "cosine", "steps"]).default("constant"),
      /** With decay `steps`, the rate is multiplied by `decayFactor` after every so many steps. */
      decayEvery: positive.nullable().default(null),
      decayFactor: z.number().positive().max(1).default(0.75),
      clipNorm: z.number().positive().nullable().default(null),
      /** Factors on the learning rate of parameters whose names begin so, e.g. `{ schedule: 0.1 }`. */
      rates: z.record(z.string(), z.number().min(0)).default({}),
      emaRate: z.number().min(0).lt(1).default(0.9999),
      /** With `ramp` the n-th update uses min(emaRate, (1 + n) / (10 + n)), so that early weights are soon forgotten. */
      emaRamp: z.enum(["none", "ramp"]).default("none"),
    })
    .refine(({ decay, decayEvery }) => decay !== "steps" || decayEvery !== null, {
      message: "a whole number where optimiser.decay is steps",
      path: ["decayEvery"],
    })
    .prefault({}),
  evaluate: z
    .strictObject({
      /** Images of the split that are measured; all where absent. */
      images: positive.optional(),
      /** Monte-Carlo draws of every image. */
      passes: positive.default(1),
      batchSize: positive.default(128),
    })
    .prefault({}),
  sample: z
    .strictObject({
      count: positive.default(36),
      /** Sampling steps T; what is usual for the model where null: 250, or all levels of a degradation. */
      steps: positive.nullable().default(null),
      sampler: z.enum(samplerNames as [string, ...string[]]).default("ancestral"),
    })
    .prefault({}),
  precision: z.enum(["auto", "float32", "bfloat16"]).default("auto"),
  device: z.string().default("auto"),
  threads: z.union([z.literal("auto"), positive]).default("auto"),
} as const;

/** Parts of a network one after another: of more not even the names of the parameters fit in memory. */
const mostParts = 1000;
const counted: readonly string[] = ["depth", "blocks", "residualBlocks"];

/** Refuses, anywhere in a model, a network of more parts than `mostParts`. */
function checkParts(part: unknown, path: readonly string[], context: z.RefinementCtx): void {
  if (typeof part !== "object" || part === null) return;
  for (const [key, value] of Object.entries(part)) {
    const here = [...path, key];
    if (counted.includes(key) && typeof value === "number" && value > mostParts)
      context.addIssue({ code: "too_big", origin: "number", maximum: mostParts, input: value, path: here });
    else checkParts(value, here, context);
  }
}

const experiments = z.discriminatedUnion("system", [
  z.strictObject({ system: z.literal("vdm"), model: systems.vdm.model.prefault({}), ...common }),
  z.strictObject({ system: z.literal("diffenc"), model: systems.diffenc.model.prefault({}), ...common }),
  z.strictObject({ system: z.literal("mulan"), model: systems.mulan.model.prefault({}), ...common }),
  z.strictObject({ system: z.literal("ddgm"), model: systems.ddgm.model.prefault({}), ...common }),
  z.strictObject({ system: z.literal("daed"), model: systems.daed.model.prefault({}), ...common }),
  z.strictObject({ system: z.literal("cold"), model: systems.cold.model.prefault({}), ...common }),
  z.strictObject({ system: z.literal("vcd"), model: systems.vcd.model.prefault({}), ...common }),
  z.strictObject({ system: z.literal("classifier"), model: models.classifier.model.prefault({}), ...common }),
]);

/** A whole experiment. */
export const configSchema = experiments.superRefine((config, context) =>
  checkParts(config.model, ["model"], context),
);

/** A config with every default filled in: what `configSchema.parse` and `loadConfig` return, a union over `system`. */
export type Config = z.output<typeof configSchema>;
