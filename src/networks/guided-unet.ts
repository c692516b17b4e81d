/** The U-Net of guided-diffusion (ADM), which predicts from an image and the number of its step. */
import type { StepNetwork } from "../diffusion/chain/step-network.js";
import type { Pass, Recompute } from "../diffusion/denoiser.js";
import { UserError } from "../errors.js";
import { Module, normal, Parameter } from "../nn/index.js";
import type { AttentionOrder, Tensor } from "../torch/index.js";
import { checkMultiple } from "./guided/layer.js";
import type { Resampling } from "./guided/resampling.js";
import type { Modulation } from "./guided/residual-block.js";
import { embedTime, type TimeEmbedding, timeEmbedding, timeEmbeddingFlops } from "./guided/time-embedding.js";
import { checkHalvings, runTrunk, type Trunk, trunkCost, trunkOf } from "./guided/trunk.js";

export interface GuidedUnetOptions {
  /** Channels of the image, C. */
  readonly imageChannels: number;
  /** C, or 2C where the network also predicts variances. */
  readonly outChannels: number;
  /** Turns `attentionResolutions` into the factors by which maps are smaller than the image, and does nothing else. */
  readonly imageSize: number;
  /** Feature channels, times the first multiplier at the first level. */
  readonly channels: number;
  /** One a level, each level half as high and wide as the last. */
  readonly channelMultipliers: readonly number[];
  /** Residual blocks a level on the way down; the way up has one more. */
  readonly residualBlocks: number;
  /** Attention follows every block whose maps are `floor(imageSize / r)` times smaller, and stands in the middle. */
  readonly attentionResolutions: readonly number[];
  readonly heads: number;
  /** Channels of a head: sets the number of heads of each block instead of `heads`. */
  readonly headChannels?: number | null;
  /** Heads on the way up. Default `heads`. */
  readonly headsUpsample?: number | null;
  readonly scaleShift: Modulation;
  readonly resampling: Resampling;
  readonly attentionOrder: AttentionOrder;
  readonly dropout: number;
  /** Groups of every normalisation. Default 32. */
  readonly groups?: number;
  /** Number of classes where the network is told an image's. */
  readonly classes?: number;
}

/** A vector for each class, `[K] -> [K, F]`. */
class ClassEmbedding extends Module {
  readonly weight: Parameter;

  constructor(classes: number, features: number) {
    super();
    this.weight = new Parameter([classes, features], normal(1));
  }

  forward(classes: Tensor): Tensor {
    return this.weight.value.indexSelect(0, classes.to("int64"));
  }
}

/**
 * The network of Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis" (2021; arXiv 2105.05233), with the official state
 * dict's names: `[B, C, H, W]` and step numbers `[B]` -> `[B, outChannels, H, W]`. H and W halve once between two levels, so both are
 * multiples of `2^(levels - 1)`. At initialisation it returns exactly 0.
 */
export class GuidedUnet extends Module implements StepNetwork, Trunk {
  // In the order of the official state dict.
  readonly time_embed: TimeEmbedding;
  readonly label_emb: ClassEmbedding | undefined;
  readonly input_blocks: Trunk["input_blocks"];
  readonly middle_block: Trunk["middle_block"];
  readonly output_blocks: Trunk["output_blocks"];
  readonly out: Trunk["out"];
  readonly #options: GuidedUnetOptions;

  /** @throws UserError when channels do not divide into groups or heads. */
  constructor(options: GuidedUnetOptions) {
    super();
    this.#options = options;
    const { imageChannels, outChannels, imageSize, channels, groups = 32, classes, heads } = options;
    const factors = new Set(options.attentionResolutions.map((r) => Math.floor(imageSize / r)));
    const headsUp = options.headsUpsample ?? heads;
    const trunk = trunkOf({
      ...options,
      channelsIn: imageChannels,
      channelsOut: outChannels,
      widths: options.channelMultipliers.map((multiplier) => Math.floor(multiplier * channels)),
      hasAttention: (level) => factors.has(2 ** level),
      heads: (width) => this.#heads(width, heads),
      headsUp: (width) => this.#heads(width, headsUp),
      embeddingFeatures: 4 * channels,
      groups,
    });
    this.time_embed = timeEmbedding(channels);
    this.label_emb = classes === undefined ? undefined : new ClassEmbedding(classes, 4 * channels);
    this.input_blocks = trunk.input_blocks;
    this.middle_block = trunk.middle_block;
    this.output_blocks = trunk.output_blocks;
    this.out = trunk.out;
  }

  #heads(width: number, count: number): number {
    const { headChannels } = this.#options;
    if (headChannels === undefined || headChannels === null) return count;
    checkMultiple(width, headChannels, "headChannels");
    return width / headChannels;
  }

  /**
   * `x` `[B, C, H, W]`, `t` `[B]`, `condition` `[B]` with class numbers where the network knows classes ->
   * `[B, outChannels, H, W]` in x's dtype.
   * @throws UserError when height or width do not halve once a level, or classes are expected and absent.
   */
  forward(x: Tensor, t: Tensor, condition: Tensor | undefined, pass: Pass): Tensor {
    checkHalvings(x.dim(2), x.dim(3), this.#options.channelMultipliers.length);
    const embedding = this.#embedding(t, condition, x).silu(); // every residual block begins with it
    return runTrunk(this, x, embedding, pass);
  }

  /** `[B, E]` in x's dtype. */
  #embedding(t: Tensor, condition: Tensor | undefined, x: Tensor): Tensor {
    const embedding = embedTime(this.time_embed, t, x.dtype);
    if (!this.label_emb) return embedding;
    if (!condition)
      throw new UserError(
        `expected the classes of the images (the network knows ${this.#options.classes}), got none: give a class for each image`,
      );
    return embedding.add(this.label_emb.forward(condition));
  }

  flops(height: number, width: number): number {
    return timeEmbeddingFlops(this.time_embed) + trunkCost(this, { height, width }).flops;
  }

  activations(height: number, width: number, recompute?: Recompute): number {
    return trunkCost(this, { height, width }, recompute).activations;
  }
}
