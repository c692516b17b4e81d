/** Networks of discrete steps by name. A new one is a file and a line here. */
import { z } from "zod";
import type { StepNetwork } from "../diffusion/chain/step-network.js";
import { UserError } from "../errors.js";
import { choiceOf, createPart, partsOf } from "../parts.js";
import { Edsr } from "./edsr.js";
import { checkHalvings } from "./guided/trunk.js";
import { GuidedUnet } from "./guided-unet.js";

/** What a network of discrete steps is told of the problem it serves. */
export interface StepNetworkContext {
  readonly imageChannels: number;
  /** `imageChannels`, or twice as many where the network also predicts variances. */
  readonly outChannels: number;
  readonly height: number;
  readonly width: number;
  /** Number of classes where the network is told an image's. */
  readonly classes?: number;
}

/** The official multipliers by height of the image. */
const officialMultipliers: ReadonlyMap<number, readonly number[]> = new Map([
  [28, [1, 2, 2]],
  [32, [1, 2, 2, 2]],
  [64, [1, 2, 3, 4]],
  [128, [1, 1, 2, 3, 4]],
  [256, [1, 1, 2, 2, 4, 4]],
  [512, [0.5, 1, 1, 2, 2, 4, 4]],
]);

function multipliersFor(height: number): readonly number[] {
  const multipliers = officialMultipliers.get(height);
  if (!multipliers)
    throw new UserError(
      `expected channelMultipliers for images of height ${height} (there are defaults for ${[...officialMultipliers.keys()].join(", ")}), got none: set channelMultipliers, one number a level`,
    );
  return multipliers;
}

const positive = z.number().int().positive();

const stepNetwork = partsOf<StepNetworkContext, StepNetwork>();

const stepNetworks = [
  stepNetwork(
    "guided-unet",
    {
      channels: positive.default(128),
      channelMultipliers: z.array(z.number().positive()).min(1).nullable().default(null),
      residualBlocks: positive.default(3),
      attentionResolutions: z.array(positive).default([16, 8]),
      heads: positive.default(4),
      headChannels: positive.nullable().default(null),
      headsUpsample: positive.nullable().default(null),
      scaleShift: z.enum(["scale-shift", "shift"]).default("scale-shift"),
      resampling: z.enum(["convolution", "pooling", "blocks"]).default("convolution"),
      attentionOrder: z.enum(["legacy", "new"]).default("legacy"),
      dropout: z.number().min(0).lt(1).default(0.3),
      groups: positive.default(32),
    },
    (options, { height, width, ...context }) => {
      const channelMultipliers = options.channelMultipliers ?? multipliersFor(height);
      checkHalvings(height, width, channelMultipliers.length);
      return new GuidedUnet({ ...options, ...context, channelMultipliers, imageSize: height });
    },
  ),
  stepNetwork(
    "edsr",
    { channels: positive.default(64), residualBlocks: positive.default(3) },
    (options, { imageChannels, outChannels }) => new Edsr({ ...options, imageChannels, outChannels }),
  ),
] as const;

/** Which network, with its options, as a config says it. */
export const stepNetworkSchema = choiceOf(stepNetworks);

export type StepNetworkConfig = z.output<typeof stepNetworkSchema>;

/** The network that a config names. */
export function createStepNetwork(config: StepNetworkConfig, context: StepNetworkContext): StepNetwork {
  return createPart(stepNetworks, config, context);
}
