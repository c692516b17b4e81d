/** What the U-Nets of cold diffusion have in common: their options, their layers, and how they are told the levels. */
import type { LevelTimes } from "../diffusion/cold/level-network.js";
import { UserError } from "../errors.js";
import { cat, type Dtype, type Tensor } from "../torch/index.js";
import type { DescentOptions } from "./guided/descent.js";
import { embedTime, type TimeEmbedding } from "./guided/time-embedding.js";

/** Whether a network is told the level of its input alone, or the level that it shall lead to as well. */
export type TimesTold = "one" | "two";

export interface ColdUnetOptions {
  /** Channels of the image and of the result, C. */
  readonly imageChannels: number;
  /** Feature channels, times the first multiplier at the first level. */
  readonly channels: number;
  /** One a level, each level half as high and wide as the last. */
  readonly channelMultipliers: readonly number[];
  /** Residual blocks a level on the way down; the way up has one more. */
  readonly residualBlocks: number;
  /** Numbers of the levels with attention; 0 is full resolution. It stands in the middle always. */
  readonly attentionLevels: readonly number[];
  readonly dropout: number;
  /** Groups of every normalisation. Default 32. */
  readonly groups?: number;
  readonly times: TimesTold;
}

/** Width E of the embedding: 4 channels for each time. */
export function embeddingWidth({ channels, times }: ColdUnetOptions): number {
  return 4 * channels * (times === "two" ? 2 : 1);
}

/**
 * One head, the embedding added, resampling by convolutions.
 * @throws UserError for attention at levels that are not there.
 */
export function coldBlocks(options: ColdUnetOptions): Omit<DescentOptions, "channelsIn"> {
  const { channels, channelMultipliers, residualBlocks, attentionLevels, dropout, groups = 32 } = options;
  const levels = channelMultipliers.length;
  const absent = attentionLevels.filter((level) => level >= levels);
  if (absent.length > 0)
    throw new UserError(
      `expected attentionLevels below ${levels} (the number of channelMultipliers), got ${absent.join(", ")}: set attentionLevels`,
    );
  return {
    widths: channelMultipliers.map((multiplier) => multiplier * channels),
    residualBlocks,
    hasAttention: (level) => attentionLevels.includes(level),
    heads: () => 1,
    embeddingFeatures: embeddingWidth(options),
    scaleShift: "shift",
    resampling: "convolution",
    attentionOrder: "new",
    dropout,
    groups,
  };
}

/** `[B, E]` in `dtype`, not yet activated: of t alone, or of t and t2 side by side through the same layers. */
export function embedLevels(
  layers: TimeEmbedding,
  { t, t2 }: LevelTimes,
  told: TimesTold,
  dtype: Dtype,
): Tensor {
  const first = embedTime(layers, t, dtype);
  return told === "one" ? first : cat([first, embedTime(layers, t2, dtype)], 1);
}
