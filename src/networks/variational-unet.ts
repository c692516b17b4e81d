/** The U-Net of variational cold diffusion: a latent says which of the images before the given one is meant. */
import type { LatentLevelNetwork, LatentPosterior, LevelTimes } from "../diffusion/cold/level-network.js";
import type { Pass, Recompute } from "../diffusion/denoiser.js";
import { UserError } from "../errors.js";
import { type Linear, Module } from "../nn/index.js";
import { cat, type Dtype, type Tensor } from "../torch/index.js";
import { coldBlocks, embeddingWidth, embedLevels } from "./cold-layout.js";
import { dense } from "./guided/layer.js";
import { type TimeEmbedding, timeEmbedding, timeEmbeddingFlops } from "./guided/time-embedding.js";
import { checkHalvings, runTrunk, type Trunk, trunkCost, trunkOf } from "./guided/trunk.js";
import { VariationalEncoder, type VariationalEncoderOptions } from "./variational-encoder.js";

/** Where the latent enters: beside the embedding of the levels, the image, or what the middle leaves. */
export type LatentLocation = "emb" | "start" | "bottleneck";

export interface VariationalUnetOptions extends VariationalEncoderOptions {
  readonly location: LatentLocation;
  /** Whether the projected latent is laid behind what is there, as more channels, or added to it. */
  readonly injection: "concat" | "add";
}

/** Channels that the latent is projected to, and how many positions each has. */
function projectedSize(options: VariationalUnetOptions): {
  readonly channels: number;
  readonly each: number;
} {
  const { location, imageChannels, imageSize, channelMultipliers, channels } = options;
  const pixels = imageSize[0] * imageSize[1];
  switch (location) {
    case "emb":
      return { channels: embeddingWidth(options), each: 1 };
    case "start":
      return { channels: imageChannels, each: pixels };
    case "bottleneck": {
      const last = (channelMultipliers.at(-1) as number) * channels;
      return { channels: last, each: pixels / 4 ** (channelMultipliers.length - 1) };
    }
    default:
      return location satisfies never;
  }
}

/** At initialisation it returns exactly 0, whatever the latent. */
export class VariationalUnet extends Module implements LatentLevelNetwork, Trunk {
  // In the order of the official state dict.
  readonly time_embed: TimeEmbedding;
  readonly vae_encoder: VariationalEncoder;
  readonly vae_projection: readonly Linear[];
  readonly input_blocks: Trunk["input_blocks"];
  readonly middle_block: Trunk["middle_block"];
  readonly output_blocks: Trunk["output_blocks"];
  readonly out: Trunk["out"];
  readonly latentSize: number;
  readonly #options: VariationalUnetOptions;

  /**
   * @throws UserError when channels do not divide into the groups, images do not halve once a level, or attention is asked
   * for at levels that are not there.
   */
  constructor(options: VariationalUnetOptions) {
    super();
    this.#options = options;
    const { imageChannels, imageSize, channels, channelMultipliers, location, injection } = options;
    checkHalvings(...imageSize, channelMultipliers.length);
    this.latentSize = options.latentSize;
    const blocks = coldBlocks(options);
    const projected = projectedSize(options);
    const behind = (place: LatentLocation) =>
      location === place && injection === "concat" ? projected.channels : 0;
    const trunk = trunkOf({
      ...blocks,
      channelsIn: imageChannels + behind("start"),
      channelsOut: imageChannels,
      embeddingFeatures: blocks.embeddingFeatures + behind("emb"),
      bottleneckChannels: behind("bottleneck"),
    });
    this.time_embed = timeEmbedding(channels);
    this.vae_encoder = new VariationalEncoder(options);
    const outputs = [...new Array<number>(5).fill(this.latentSize), projected.channels * projected.each];
    this.vae_projection = outputs.map((size) => dense(this.latentSize, size));
    this.input_blocks = trunk.input_blocks;
    this.middle_block = trunk.middle_block;
    this.output_blocks = trunk.output_blocks;
    this.out = trunk.out;
  }

  /** @throws UserError for images that are not of the size the network was made for. */
  encode(x: Tensor, target: Tensor, times: LevelTimes, pass: Pass): LatentPosterior {
    this.#checkSize(x);
    return this.vae_encoder.forward(x, target, this.embedding(times, x.dtype).silu(), pass);
  }

  /**
   * `x` `[B, C, H, W]`, `latent` `[B, L]` -> `[B, C, H, W]` in x's dtype; the latent is projected in it too.
   * @throws UserError for images that are not of the size the network was made for.
   */
  forward(x: Tensor, times: LevelTimes, latent: Tensor, pass: Pass): Tensor {
    this.#checkSize(x);
    const { location } = this.#options;
    const z = this.vae_projection.reduce((h, layer) => layer.forward(h), latent.to(x.dtype));
    const embedding = this.embedding(times, x.dtype);
    const told = location === "emb" ? this.#joined(embedding, z) : embedding;
    const image = location === "start" ? this.#joined(x, z) : x;
    return runTrunk(this, image, told.silu(), pass, (h) =>
      location === "bottleneck" ? this.#joined(h, z).clone("channelsLast") : h,
    );
  }

  /** What encoder and U-Net are told of the levels, `[B, E]` with E = 4 `channels` a time, before it is activated. */
  embedding(times: LevelTimes, dtype: Dtype): Tensor {
    return embedLevels(this.time_embed, times, this.#options.times, dtype);
  }

  /** `h` `[B, c, ...]` and the projected latent `[B, c' ...]`, whose numbers lie in the order `(c', ...)`. */
  #joined(h: Tensor, projected: Tensor): Tensor {
    const [batch, , ...places] = h.shape as [number, number, ...number[]];
    const z = projected.reshape([batch, -1, ...places]).to(h.dtype);
    return this.#options.injection === "add" ? h.add(z) : cat([h, z], 1);
  }

  #checkSize(x: Tensor): void {
    const [height, width] = this.#options.imageSize;
    if (x.dim(2) !== height || x.dim(3) !== width)
      throw new UserError(
        `expected images of ${height} x ${width}, which the latent is made for, got ${x.dim(2)} x ${x.dim(3)}: train a network for that size`,
      );
  }

  /** Of an image in training: through the encoder, then through the U-Net. */
  flops(height: number, width: number): number {
    const size = { height, width };
    const times = this.#options.times === "two" ? 2 : 1;
    const projection = this.vae_projection.reduce((sum, { weight }) => sum + 2 * weight.size, 0);
    return (
      2 * times * timeEmbeddingFlops(this.time_embed) + // once for each of the two
      this.vae_encoder.cost(size).flops +
      projection +
      trunkCost(this, size).flops
    );
  }

  /** Of the encoder and the U-Net. */
  activations(height: number, width: number, recompute?: Recompute): number {
    const size = { height, width };
    return this.vae_encoder.cost(size, recompute).activations + trunkCost(this, size, recompute).activations;
  }
}
