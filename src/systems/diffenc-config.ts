/** DiffEnc as a config says it. */
import { z } from "zod";
import { type Encoding, Identity, NonTrainable, Trainable } from "../diffusion/encoding/index.js";
import { predictionKinds } from "../diffusion/prediction.js";
import { createSchedule, scheduleSchema } from "../diffusion/schedule/index.js";
import { timeSamplings } from "../diffusion/times.js";
import { UserError } from "../errors.js";
import { createEncoder, type EncoderContext, encoderSchema } from "../networks/encoders.js";
import { createNetwork, networkSchema } from "../networks/index.js";
import { choiceOf, createPart, partsOf } from "../parts.js";
import { DiffEnc } from "./diffenc.js";
import type { BuiltSystem, SystemContext } from "./system-context.js";

const encoding = partsOf<EncoderContext, Encoding>();

const encodings = [
  encoding("identity", {}, () => new Identity()),
  encoding("non-trainable", {}, () => new NonTrainable()),
  encoding(
    "trainable",
    {
      network: encoderSchema.prefault({ kind: "unet" }),
      /** One dropout mask for x_t, y_t and dy/dgamma, or, as in the official code, one each. */
      masks: z.enum(["shared", "independent"]).default("shared"),
    },
    ({ network, masks }, context) => new Trainable({ network: createEncoder(network, context), masks }),
  ),
] as const;

export const diffEncModel = z.strictObject({
  schedule: scheduleSchema.prefault({ kind: "fixed" }),
  network: networkSchema.prefault({ kind: "vdm-unet" }),
  encoding: choiceOf(encodings).prefault({ kind: "trainable" }),
  counterTerm: z.enum(["sigma2", "none"]).default("sigma2"),
  prediction: z.enum(predictionKinds).default("v"),
  /** T of the training objective; 0 is continuous time. */
  steps: z.number().int().min(0).default(0),
  /** w of a chain of T steps: sigma_Q^2 / sigma_P^2, or one learned for each step. */
  varianceRatio: z.union([z.number().positive(), z.literal("learned")]).default(1),
  times: z.enum(timeSamplings).default("low-discrepancy"),
  /** The number given to both networks beside each image. */
  condition: z.enum(["none", "class", "augmentation"]).default("none"),
});

/** @throws UserError for a variance ratio in continuous time. */
export function createDiffEnc(config: z.output<typeof diffEncModel>, { shape }: SystemContext): BuiltSystem {
  const { gammaMin, gammaMax } = config.schedule;
  const { counterTerm, prediction, steps, times, varianceRatio } = config;
  if (varianceRatio !== 1 && steps === 0)
    throw new UserError(
      `expected model.steps above 0 with model.varianceRatio ${varianceRatio} (in continuous time the bound diverges), got 0: set model.steps or leave the ratio at 1`,
    );
  const [imageChannels, height] = shape;
  const context = { imageChannels, height, gammaMin, gammaMax };
  const denoiser = createNetwork(config.network, context);
  const system = new DiffEnc({
    shape,
    schedule: createSchedule(config.schedule),
    denoiser,
    encoding: createPart(encodings, config.encoding, context),
    counterTerm,
    varianceRatio,
    prediction,
    steps,
    times,
  });
  return { system, network: denoiser };
}
