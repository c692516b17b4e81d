/** MuLAN as a config says it. */
import { z } from "zod";
import { createLatent, type Latent, latentSchema } from "../diffusion/latent/index.js";
import { predictionKinds } from "../diffusion/prediction.js";
import {
  conditionalScheduleSchema,
  createConditionalSchedule,
  scheduleEnds,
} from "../diffusion/schedule/conditional/index.js";
import { timeSamplings } from "../diffusion/times.js";
import { UserError } from "../errors.js";
import { createNetwork, networkSchema } from "../networks/index.js";
import { createLatentEncoder, latentEncoderSchema } from "../networks/latent-encoders.js";
import { MuLAN } from "./mulan.js";
import { ContextMuLAN } from "./mulan-context.js";
import type { BuiltSystem, SystemContext } from "./system-context.js";

export const mulanModel = z.strictObject({
  schedule: conditionalScheduleSchema.prefault({ kind: "polynomial" }),
  /**
   * What the schedule depends on: the auxiliary latent (MuLAN), nothing, or, to see why a latent is needed, the class or
   * the image itself, which the reverse process has to guess.
   */
  condition: z.enum(["z", "none", "class", "x0"]).default("z"),
  latent: latentSchema.prefault({ kind: "k-hot" }),
  /** q(z | x0). */
  encoder: latentEncoderSchema.prefault({ kind: "unet" }),
  network: networkSchema.prefault({ kind: "vdm-unet" }),
  /** Classes of the data, where the schedule depends on them. */
  classes: z.number().int().min(2).default(10),
  /** Whether the denoiser is given z as the schedule is. */
  denoiserCondition: z.enum(["with-latent", "without-latent"]).default("with-latent"),
  prediction: z.enum(predictionKinds).default("v"),
  /** T of the training objective; 0 is continuous time. */
  steps: z.number().int().min(0).default(0),
  times: z.enum(timeSamplings).default("low-discrepancy"),
});

/** In words, which divergence the latent charges: the official k-hot one is not that of its own law. */
function divergenceOf(config: z.output<typeof latentSchema>): string {
  return config.kind === "k-hot" ? config.kl : config.kind === "one-hot" ? "categorical" : "gaussian";
}

/** Schedules whose ends follow from what they are conditioned on. */
const freeEnds: readonly string[] = ["monotone", "affine-sigmoid"];

/** @throws UserError where the schedule depends on a guess and time is continuous. */
export function createMulan(config: z.output<typeof mulanModel>, { shape }: SystemContext): BuiltSystem {
  const [imageChannels, height, width] = shape;
  const dimensions = imageChannels * height * width;
  const ends = scheduleEnds(config.schedule);
  const { condition, prediction, steps, times, denoiserCondition } = config;
  const guessed = condition === "class" || condition === "x0";
  const latent: Latent = createLatent(config.latent);
  const latentSize = condition === "class" ? config.classes : latent.size;
  const schedule = createConditionalSchedule(config.schedule, { latentSize, dimensions });
  const encoder = (heads: 1 | 2) =>
    createLatentEncoder(config.encoder, { imageChannels, height, width, outputs: latentSize, heads });
  const toDenoiser = condition === "z" && denoiserCondition === "with-latent";
  const denoiser = createNetwork(config.network, {
    imageChannels,
    ...ends,
    ...(toDenoiser ? { conditionFeatures: latentSize } : {}),
  });
  if (guessed) {
    if (freeEnds.includes(config.schedule.kind))
      throw new UserError(
        `expected a model.schedule whose ends do not depend on the context with model.condition ${condition} (the decoder does not know it), got ${config.schedule.kind}: use polynomial, sigmoid or linear`,
      );
    if (steps === 0)
      throw new UserError(
        `expected model.steps above 0 with model.condition ${condition} (in continuous time the bound is infinite), got 0: set model.steps`,
      );
    const system = new ContextMuLAN({
      shape,
      schedule,
      denoiser,
      encoder: encoder(1),
      context: condition,
      ends,
      steps,
      times,
    });
    return { system, network: denoiser };
  }
  const auxiliary =
    condition === "z"
      ? { latent, encoder: encoder(latent.heads), divergence: divergenceOf(config.latent) }
      : undefined;
  const system = new MuLAN({
    shape,
    schedule,
    denoiser,
    auxiliary,
    latentSize,
    denoiserCondition,
    ends,
    prediction,
    steps,
    times,
  });
  return { system, network: denoiser };
}
