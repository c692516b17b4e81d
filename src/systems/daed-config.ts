/** DAED as a config says it. */
import { z } from "zod";
import { betaScheduleSchema, createBetas } from "../diffusion/chain/betas.js";
import { varianceTypes } from "../diffusion/chain/reverse.js";
import { stepSamplings } from "../diffusion/chain/step-sampling.js";
import { UserError } from "../errors.js";
import { createStepNetwork, stepNetworkSchema } from "../networks/step-networks.js";
import { compositions, DAED, daedParts } from "./daed.js";
import { chainModel, checkLoss, networkContext } from "./ddgm-config.js";
import type { BuiltSystem, SystemContext } from "./system-context.js";

export const daedModel = z.strictObject({
  /** The generator's; its first step is the denoiser's where there is no `split`. */
  schedule: betaScheduleSchema.prefault({ kind: "linear-combine" }),
  ...chainModel,
  /** A denoiser of its own variance in the place of the schedule's first steps (two-step training). */
  split: z
    .strictObject({
      firstBeta: z.number().positive().lt(1),
      composition: z.enum(compositions).default("clean"),
    })
    .nullable()
    .default(null),
  /** Where the denoiser differs from the generator. */
  denoiser: z
    .strictObject({
      network: stepNetworkSchema.nullable().default(null),
      variance: z.enum(varianceTypes).nullable().default(null),
    })
    .prefault({}),
  /** One of the two can be trained by itself. */
  parts: z.enum(daedParts).default("both"),
  /** The distance of Laplacian pyramids on top of step 0's loss. */
  laplacian: z.enum(["with", "without"]).default("without"),
  /** Which steps a batch is trained on; a part by itself has its own. */
  sampling: z.enum(stepSamplings).default("dae-uniform"),
});

/** Three levels of a pyramid: sides that halve three times, and a last level that a border of two pixels can mirror. */
function checkLaplacian(
  { laplacian }: z.output<typeof daedModel>,
  [, height, width]: SystemContext["shape"],
): void {
  if (laplacian === "with" && (height % 8 !== 0 || width % 8 !== 0 || Math.min(height, width) < 16))
    throw new UserError(
      `expected images whose sides are multiples of 8 and 16 at least for model.laplacian with, got ${height} x ${width}: set data.size, or model.laplacian=without`,
    );
}

/** @throws UserError for betas outside (0, 1), and parts that do not go together. */
export function createDaed(config: z.output<typeof daedModel>, { shape }: SystemContext): BuiltSystem {
  checkLoss(config);
  checkLaplacian(config, shape);
  const { mean, variance, loss, sampling, timesteps, split, parts, laplacian } = config;
  const betas = createBetas(config.schedule);
  const context = networkContext(config, shape);
  const own = { ...config, variance: config.denoiser.variance ?? variance };
  const denoiser =
    parts === "generator"
      ? undefined
      : createStepNetwork(config.denoiser.network ?? config.network, networkContext(own, shape));
  const generator = parts === "denoiser" ? undefined : createStepNetwork(config.network, context);
  const system = new DAED({
    ...{ shape, betas, split: split ?? undefined, denoiser, generator, loss, sampling, laplacian },
    type: { mean, variance: parts === "denoiser" ? own.variance : variance },
    ...(timesteps === "rescaled" ? { timestepScale: 1000 / betas.length } : {}),
  });
  const network = generator ?? denoiser;
  if (!network) throw new Error("expected a denoiser or a generator");
  return { system, network };
}
