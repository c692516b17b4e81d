/** The U-Net of cold diffusion, which leads from one level of degradation to another. */
import type { LevelNetwork, LevelTimes } from "../diffusion/cold/level-network.js";
import type { Pass, Recompute } from "../diffusion/denoiser.js";
import { Module } from "../nn/index.js";
import type { Dtype, Tensor } from "../torch/index.js";
import { type ColdUnetOptions, coldBlocks, embedLevels } from "./cold-layout.js";
import { type TimeEmbedding, timeEmbedding, timeEmbeddingFlops } from "./guided/time-embedding.js";
import { checkHalvings, runTrunk, type Trunk, trunkCost, trunkOf } from "./guided/trunk.js";

/** At initialisation it returns exactly 0. */
export class ColdUnet extends Module implements LevelNetwork, Trunk {
  // In the order of the official state dict.
  readonly time_embed: TimeEmbedding;
  readonly input_blocks: Trunk["input_blocks"];
  readonly middle_block: Trunk["middle_block"];
  readonly output_blocks: Trunk["output_blocks"];
  readonly out: Trunk["out"];
  readonly #options: ColdUnetOptions;

  /** @throws UserError when channels do not divide into the groups, or for attention at levels that are not there. */
  constructor(options: ColdUnetOptions) {
    super();
    this.#options = options;
    const { imageChannels, channels } = options;
    const trunk = trunkOf({
      ...coldBlocks(options),
      channelsIn: imageChannels,
      channelsOut: imageChannels,
    });
    this.time_embed = timeEmbedding(channels);
    this.input_blocks = trunk.input_blocks;
    this.middle_block = trunk.middle_block;
    this.output_blocks = trunk.output_blocks;
    this.out = trunk.out;
  }

  /**
   * `x` `[B, C, H, W]` -> the same shape and dtype.
   * @throws UserError when height or width do not halve once a level.
   */
  forward(x: Tensor, times: LevelTimes, pass: Pass): Tensor {
    checkHalvings(x.dim(2), x.dim(3), this.#options.channelMultipliers.length);
    return runTrunk(this, x, this.embedding(times, x.dtype).silu(), pass);
  }

  /** What the network is told of the levels, `[B, E]` with E = 4 `channels` a time; every residual block activates it. */
  embedding(times: LevelTimes, dtype: Dtype): Tensor {
    return embedLevels(this.time_embed, times, this.#options.times, dtype);
  }

  flops(height: number, width: number): number {
    const times = this.#options.times === "two" ? 2 : 1;
    return times * timeEmbeddingFlops(this.time_embed) + trunkCost(this, { height, width }).flops;
  }

  activations(height: number, width: number, recompute?: Recompute): number {
    return trunkCost(this, { height, width }, recompute).activations;
  }
}
