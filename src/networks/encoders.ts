/** Encoders of data by name. A new one is a line here. */
import { z } from "zod";
import type { DataEncoder } from "../diffusion/encoder.js";
import { choiceOf, createPart, partsOf } from "../parts.js";
import { EncoderUnet } from "./data-encoder.js";

/** What an encoder is told of the problem it serves. */
export interface EncoderContext {
  readonly imageChannels: number;
  readonly height: number;
  readonly gammaMin: number;
  readonly gammaMax: number;
}

const positive = z.number().int().positive();
const options = {
  channels: positive.default(64),
  groups: positive.default(16),
  blockGroups: positive.default(32),
  dropout: z.number().min(0).lt(1).default(0.1),
};

const encoder = partsOf<EncoderContext, DataEncoder>();

const encoders = [
  encoder(
    "unet",
    { blocks: positive.default(2), ...options },
    (o, context) => new EncoderUnet({ ...o, ...context, layout: "unet" }),
  ),
  encoder(
    "multiple-blocks",
    { blocks: positive.default(4), ...options },
    (o, context) => new EncoderUnet({ ...o, ...context, layout: "multiple-blocks" }),
  ),
] as const;

/** Which encoder, with its options, as a config says it. */
export const encoderSchema = choiceOf(encoders).superRefine(
  ({ channels, groups, blockGroups }, { addIssue }) => {
    for (const [key, count] of Object.entries({ groups, blockGroups }))
      if (channels % count !== 0)
        addIssue({ code: "custom", path: [key], message: `expected a divisor of the ${channels} channels` });
  },
);

export type EncoderConfig = z.output<typeof encoderSchema>;

/** The encoder that a config names. */
export function createEncoder(config: EncoderConfig, context: EncoderContext): DataEncoder {
  return createPart(encoders, config, context);
}
