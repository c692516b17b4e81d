/** The variational encoder of cold diffusion: which latent leads from an image to a cleaner one. */
import type { LatentPosterior } from "../diffusion/cold/level-network.js";
import type { Pass, Recompute } from "../diffusion/denoiser.js";
import { type Linear, Module } from "../nn/index.js";
import { cat, type Tensor } from "../torch/index.js";
import { type ColdUnetOptions, coldBlocks } from "./cold-layout.js";
import { behindStem, costOf, descend, type InputBlocks, inputBlocks } from "./guided/descent.js";
import { checkMultiple, dense, positions, type Size } from "./guided/layer.js";

/** Beyond these `exp(logVariance)` no longer says anything in float32; normal runs stay far within. */
const logVarianceBounds = [-30, 20] as const;

export interface VariationalEncoderOptions extends ColdUnetOptions {
  readonly latentSize: number;
  /** Of the images, `[H, W]`. */
  readonly imageSize: readonly [height: number, width: number];
  /** Groups of every normalisation in the encoder. Default `groups`. */
  readonly encoderGroups?: number;
}

/** Its widths: half the channels, times `floor((m + 1) / 2)` for each multiplier m. */
function encoderWidths({ channels, channelMultipliers }: ColdUnetOptions): readonly number[] {
  return channelMultipliers.map((m) => Math.floor((m + 1) / 2) * Math.floor(channels / 2));
}

/**
 * The way down of the U-Net, narrower, and two linear maps of all it leaves, in the order `(c, h, w)`.
 *
 * With as many groups as channels (32 of 32 at the official sizes of MNIST and CIFAR-10) normalisation erases the
 * embedding, and the encoder does not know the levels; fewer `encoderGroups` let it.
 */
export class VariationalEncoder extends Module {
  // In the order of the official state dict.
  readonly input_blocks: InputBlocks;
  readonly dense_mean: Linear;
  readonly dense_logvar: Linear;

  /** @throws UserError when channels do not divide into the groups. */
  constructor(options: VariationalEncoderOptions) {
    super();
    const { imageChannels, latentSize, imageSize, groups = 32, encoderGroups = groups } = options;
    const widths = encoderWidths(options);
    for (const width of widths) checkMultiple(width, encoderGroups, "encoderGroups");
    this.input_blocks = inputBlocks({
      ...coldBlocks(options),
      channelsIn: 2 * imageChannels,
      widths,
      groups: encoderGroups,
    }).blocks;
    const [height, width] = imageSize;
    const left = (widths.at(-1) as number) * (positions({ height, width }) / 4 ** (widths.length - 1));
    this.dense_mean = dense(left, latentSize);
    this.dense_logvar = dense(left, latentSize);
  }

  /** `x` and `target` `[B, C, H, W]`, `embedding` `[B, E]`, activated; the heads run in x's own precision. */
  forward(x: Tensor, target: Tensor, embedding: Tensor, pass: Pass): LatentPosterior {
    const maps = behindStem(
      this.input_blocks,
      cat([x, target], 1),
      pass,
      (first) => descend(this.input_blocks, first, embedding, pass).h,
    );
    const features = maps.flatten(1);
    return {
      mean: this.dense_mean.forward(features),
      logVariance: this.dense_logvar.forward(features).clamp(...logVarianceBounds),
    };
  }

  cost(
    before: Size,
    recompute: Recompute = "none",
  ): { readonly flops: number; readonly activations: number } {
    const { flops, activations } = costOf(this.input_blocks, before, recompute);
    const heads = this.dense_mean.weight.size + this.dense_logvar.weight.size;
    return {
      flops: flops + 2 * heads,
      activations: activations + (this.dense_mean.weight.shape[1] as number),
    };
  }
}
