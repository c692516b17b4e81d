/** Networks of cold diffusion by name, without and with a latent. A new one is a file and a line here. */
import { z } from "zod";
import type { LatentLevelNetwork, LevelNetwork } from "../diffusion/cold/level-network.js";
import { UserError } from "../errors.js";
import { choiceOf, createPart, partsOf } from "../parts.js";
import { ColdUnet } from "./cold-unet.js";
import { checkHalvings } from "./guided/trunk.js";
import { type LatentLocation, VariationalUnet } from "./variational-unet.js";

/** What a network of cold diffusion is told of the problem it serves. */
export interface LevelNetworkContext {
  readonly imageChannels: number;
  readonly height: number;
  readonly width: number;
}

interface Levels {
  readonly channelMultipliers: readonly number[];
  readonly attentionLevels: readonly number[];
}

/** The official levels by height of the image. */
const officialLevels: ReadonlyMap<number, Levels> = new Map([
  [28, { channelMultipliers: [1, 2, 2], attentionLevels: [2] }],
  [32, { channelMultipliers: [1, 2, 2, 2], attentionLevels: [2, 3] }],
  [64, { channelMultipliers: [1, 2, 3, 4], attentionLevels: [2, 3] }],
  [256, { channelMultipliers: [1, 2, 3, 4, 5], attentionLevels: [2, 3, 4] }],
]);

/** What the config says of the levels, and the official where it says nothing. */
function levelsFor(
  options: { readonly [K in keyof Levels]: Levels[K] | null },
  { height, width }: LevelNetworkContext,
): Levels {
  const official = officialLevels.get(height);
  const channelMultipliers = options.channelMultipliers ?? official?.channelMultipliers;
  const attentionLevels = options.attentionLevels ?? official?.attentionLevels;
  if (!channelMultipliers || !attentionLevels)
    throw new UserError(
      `expected channelMultipliers and attentionLevels for images of height ${height} (there are defaults for ${[...officialLevels.keys()].join(", ")}), got none: set channelMultipliers, one number a level, and attentionLevels`,
    );
  checkHalvings(height, width, channelMultipliers.length);
  return { channelMultipliers, attentionLevels };
}

const positive = z.number().int().positive();

/** The official values of MNIST. */
const unet = {
  channels: positive.default(64),
  channelMultipliers: z.array(positive).min(1).nullable().default(null),
  residualBlocks: positive.default(2),
  attentionLevels: z.array(z.number().int().nonnegative()).nullable().default(null),
  dropout: z.number().min(0).lt(1).default(0.1),
  groups: positive.default(32),
  times: z.enum(["one", "two"]).default("two"),
};

const locations = ["emb", "start", "bottleneck"] as const satisfies readonly LatentLocation[];

/** Places of the latent in the original that are left out, each with the reason. */
const refusedLocations: ReadonlyMap<unknown, string> = new Map([
  ["maps", "its matrices do not fit the feature maps in the original, which fails with it always"],
  [
    "bold",
    "it makes image noise of the latent and fails with concat in the original, which has no result of it",
  ],
]);

const location = z
  .custom<LatentLocation>((input) => !refusedLocations.has(input), {
    error: ({ input }) =>
      `one of ${locations.join(", ")} (${input} is left out: ${refusedLocations.get(input)})`,
  })
  .pipe(z.enum(locations));

const levelNetwork = partsOf<LevelNetworkContext, LevelNetwork>();

const levelNetworks = [
  levelNetwork(
    "cold-unet",
    unet,
    (options, context) =>
      new ColdUnet({ ...options, ...levelsFor(options, context), imageChannels: context.imageChannels }),
  ),
] as const;

/** Which network without a latent, with its options, as a config says it. */
export const levelNetworkSchema = choiceOf(levelNetworks);

export type LevelNetworkConfig = z.output<typeof levelNetworkSchema>;

/** The network that a config names. */
export function createLevelNetwork(config: LevelNetworkConfig, context: LevelNetworkContext): LevelNetwork {
  return createPart(levelNetworks, config, context);
}

const latentNetwork = partsOf<LevelNetworkContext, LatentLevelNetwork>();

const latentNetworks = [
  latentNetwork(
    "variational-unet",
    {
      ...unet,
      latentSize: positive.default(128),
      location: location.default("emb"),
      injection: z.enum(["concat", "add"]).default("concat"),
      encoderGroups: positive.nullable().default(null),
    },
    ({ encoderGroups, ...options }, context) =>
      new VariationalUnet({
        ...options,
        ...levelsFor(options, context),
        imageChannels: context.imageChannels,
        imageSize: [context.height, context.width],
        encoderGroups: encoderGroups ?? options.groups,
      }),
  ),
] as const;

/** Which network with a latent, with its options, as a config says it. */
export const latentNetworkSchema = choiceOf(latentNetworks);

export type LatentNetworkConfig = z.output<typeof latentNetworkSchema>;

/** The network that a config names. */
export function createLatentNetwork(
  config: LatentNetworkConfig,
  context: LevelNetworkContext,
): LatentLevelNetwork {
  return createPart(latentNetworks, config, context);
}
