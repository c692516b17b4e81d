/** VDM as a config says it. */
import { z } from "zod";
import { predictionKinds } from "../diffusion/prediction.js";
import { createSchedule, scheduleSchema } from "../diffusion/schedule/index.js";
import { timeSamplings } from "../diffusion/times.js";
import { UserError } from "../errors.js";
import { createNetwork, networkSchema } from "../networks/index.js";
import type { BuiltSystem, SystemContext } from "./system-context.js";
import { VDM } from "./vdm.js";

export const vdmModel = z.strictObject({
  schedule: scheduleSchema.prefault({ kind: "fixed" }),
  network: networkSchema.prefault({ kind: "vdm-unet" }),
  prediction: z.enum(predictionKinds).default("eps"),
  /** T of the training objective; 0 is continuous time. */
  steps: z.number().int().min(0).default(0),
  times: z.enum(timeSamplings).default("low-discrepancy"),
  scheduleGradient: z.enum(["bound", "minimum-variance"]).default("bound"),
  /** The number given to the network beside each image. */
  condition: z.enum(["none", "class", "augmentation"]).default("none"),
});

/** @throws UserError where the schedule's gradient does not go with the schedule or the objective. */
export function createVdm(config: z.output<typeof vdmModel>, { shape }: SystemContext): BuiltSystem {
  const { gammaMin, gammaMax } = config.schedule;
  const schedule = createSchedule(config.schedule);
  if (config.scheduleGradient === "minimum-variance") {
    if (!schedule.split())
      throw new UserError(
        `expected model.schedule.kind monotone-paper with model.scheduleGradient minimum-variance, got ${config.schedule.kind}`,
      );
    if (config.steps !== 0)
      throw new UserError(
        `expected model.steps 0 (continuous time) with model.scheduleGradient minimum-variance, got ${config.steps}`,
      );
  }
  const denoiser = createNetwork(config.network, { imageChannels: shape[0], gammaMin, gammaMax });
  const { prediction, steps, times, scheduleGradient } = config;
  return {
    system: new VDM({ shape, schedule, denoiser, prediction, steps, times, scheduleGradient }),
    network: denoiser,
  };
}
