/** Networks of the auxiliary latent by name. A new one is a line here. */
import { z } from "zod";
import type { LatentEncoder } from "../diffusion/encoder.js";
import { choiceOf, createPart, partsOf } from "../parts.js";
import { LatentCnn, type LatentOptions, LatentUnet } from "./latent-encoder.js";

const latentEncoder = partsOf<LatentOptions, LatentEncoder>();

const latentEncoders = [
  latentEncoder(
    "unet",
    {
      channels: z.number().int().positive().multipleOf(32).default(128),
      depth: z.number().int().positive().default(4),
      attention: z.enum(["none", "middle", "everywhere"]).default("middle"),
      fourierExponents: z.array(z.number().int()).default([6, 7]),
      dropout: z.number().min(0).lt(1).default(0.1),
    },
    (options, context) => new LatentUnet({ ...options, ...context }),
  ),
  latentEncoder("cnn", {}, (_, context) => new LatentCnn(context)),
] as const;

/** Which network of the latent, with its options, as a config says it. */
export const latentEncoderSchema = choiceOf(latentEncoders);

export type LatentEncoderConfig = z.output<typeof latentEncoderSchema>;

/** The network of the latent that a config names. */
export function createLatentEncoder(config: LatentEncoderConfig, context: LatentOptions): LatentEncoder {
  return createPart(latentEncoders, config, context);
}
