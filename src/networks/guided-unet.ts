/** The U-Net of guided-diffusion (ADM), which predicts from an image and the number of its step. */
import type { StepNetwork } from "../diffusion/chain/step-network.js";
import type { Pass } from "../diffusion/denoiser.js";
import { UserError } from "../errors.js";
import { Convolution, GroupNorm, type Linear, Module, normal, Parameter, zero } from "../nn/index.js";
import { cat, type DropoutKeys, scope, type Tensor } from "../torch/index.js";
import { stepEmbedding } from "./features.js";
import { type AttentionOrder, GuidedAttention } from "./guided/attention.js";
import {
  checkMultiple,
  convolution,
  convolutionFlops,
  dense,
  type Layer,
  positions,
} from "./guided/layer.js";
import { Downsample, type Resampling, Upsample } from "./guided/resampling.js";
import { GuidedResidualBlock, type Modulation } from "./guided/residual-block.js";
import { inPrecision } from "./precision.js";

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

/** @throws UserError when height and width do not halve `levels - 1` times. */
export function checkHalvings(height: number, width: number, levels: number): void {
  const unit = 2 ** (levels - 1);
  if (height % unit !== 0 || width % unit !== 0)
    throw new UserError(
      `expected images whose height and width are multiples of ${unit} (${levels} levels), got ${height} x ${width}: set data.size, or fewer channelMultipliers`,
    );
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

/** At initialisation it returns exactly 0. */
export class GuidedUnet extends Module implements StepNetwork {
  // Fields carry the names, and arrays the positions, of the official state dict; null is a layer without parameters.
  readonly time_embed: readonly [Linear, null, Linear];
  readonly label_emb: ClassEmbedding | undefined;
  readonly input_blocks: readonly [readonly [Convolution], ...(readonly Layer[])[]];
  readonly middle_block: readonly Layer[];
  readonly output_blocks: readonly (readonly Layer[])[];
  readonly out: readonly [GroupNorm, null, Convolution];
  readonly #options: GuidedUnetOptions;

  /** @throws UserError when channels do not divide into groups or heads. */
  constructor(options: GuidedUnetOptions) {
    super();
    this.#options = options;
    const { imageChannels, outChannels, channels, channelMultipliers: multipliers, groups = 32 } = options;
    const { residualBlocks, resampling, scaleShift, dropout, classes } = options;
    const features = 4 * channels;
    const factors = new Set(options.attentionResolutions.map((r) => Math.floor(options.imageSize / r)));
    const widths = multipliers.map((multiplier) => Math.floor(multiplier * channels));
    const block = { embeddingFeatures: features, scaleShift, dropout, groups };

    const residual = (channelsIn: number, channelsOut: number, resample: "none" | "down" | "up" = "none") =>
      new GuidedResidualBlock({ ...block, channelsIn, channelsOut, resample });
    const attention = (width: number, count: number) =>
      new GuidedAttention({
        channels: width,
        heads: this.#heads(width, count),
        order: options.attentionOrder,
        groups,
      });
    const down = (width: number) =>
      resampling === "blocks" ? residual(width, width, "down") : new Downsample(width, resampling);
    const up = (width: number) =>
      resampling === "blocks" ? residual(width, width, "up") : new Upsample(width, resampling);

    this.time_embed = [dense(channels, features), null, dense(features, features)];
    this.label_emb = classes === undefined ? undefined : new ClassEmbedding(classes, features);

    let width = widths[0] as number;
    const skips = [width];
    const inputs: Layer[][] = [];
    const stem = convolution(imageChannels, width);
    for (const [level, levelWidth] of widths.entries()) {
      for (let i = 0; i < residualBlocks; i++) {
        const layers: Layer[] = [residual(width, levelWidth)];
        width = levelWidth;
        if (factors.has(2 ** level)) layers.push(attention(width, options.heads));
        inputs.push(layers);
        skips.push(width);
      }
      if (level === widths.length - 1) continue;
      inputs.push([down(width)]);
      skips.push(width);
    }
    this.input_blocks = [[stem], ...inputs];

    this.middle_block = [residual(width, width), attention(width, options.heads), residual(width, width)];

    const outputs: Layer[][] = [];
    const headsUp = options.headsUpsample ?? options.heads;
    for (const [level, levelWidth] of [...widths.entries()].reverse())
      for (let i = 0; i <= residualBlocks; i++) {
        const layers: Layer[] = [residual(width + (skips.pop() as number), levelWidth)];
        width = levelWidth;
        if (factors.has(2 ** level)) layers.push(attention(width, headsUp));
        if (level > 0 && i === residualBlocks) layers.push(up(width));
        outputs.push(layers);
      }
    this.output_blocks = outputs;

    this.out = [
      new GroupNorm(width, { groups, epsilon: 1e-5, activation: "silu" }),
      null,
      new Convolution(width, outChannels, { law: zero }),
    ];
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
    // Stem, embedding and output keep x's own precision; what lies between runs in that of the pass.
    const stem = this.input_blocks[0][0].forward(x.clone("channelsLast"));
    const h = inPrecision(pass, stem, (first) => this.#body(first, embedding, pass.dropout));
    return this.out[2].forward(h);
  }

  /** `[B, E]` in x's dtype. */
  #embedding(t: Tensor, condition: Tensor | undefined, x: Tensor): Tensor {
    const [first, , second] = this.time_embed;
    const waves = stepEmbedding(t, this.#options.channels).to(x.dtype);
    const embedding = second.forward(first.forward(waves).silu());
    if (!this.label_emb) return embedding;
    if (!condition)
      throw new UserError(
        `expected the classes of the images (the network knows ${this.#options.classes}), got none: give a class for each image`,
      );
    return embedding.add(this.label_emb.forward(condition));
  }

  #body(first: Tensor, embedding: Tensor, keys: DropoutKeys | undefined): Tensor {
    const through = (layers: readonly Layer[], x: Tensor) =>
      layers.reduce((h, layer) => scope(() => layer.forward(h, embedding, keys)), x);
    const [, ...inputs] = this.input_blocks;
    const skips = [first];
    let h = first;
    for (const layers of inputs) {
      h = through(layers, h);
      skips.push(h);
    }
    h = through(this.middle_block, h);
    for (const layers of this.output_blocks) h = through(layers, cat([h, skips.pop() as Tensor], 1));
    return this.out[0].forward(h);
  }

  flops(height: number, width: number): number {
    const { imageChannels, outChannels, channels } = this.#options;
    const ends = this.#firstWidth();
    const embedding = 2 * (channels * 4 * channels + (4 * channels) ** 2);
    return (
      embedding +
      convolutionFlops(imageChannels, ends, { height, width }) +
      this.#bodyCost(height, width).flops +
      convolutionFlops(ends, outChannels, { height, width })
    );
  }

  activations(height: number, width: number): number {
    const ends = 2 * this.#firstWidth() * positions({ height, width }); // of the last norm and convolution
    return this.#bodyCost(height, width).activations + ends;
  }

  #firstWidth(): number {
    const { channels, channelMultipliers } = this.#options;
    return Math.floor((channelMultipliers[0] as number) * channels);
  }

  #bodyCost(height: number, width: number): { readonly flops: number; readonly activations: number } {
    const [, ...inputs] = this.input_blocks;
    let size = { height, width };
    let [flops, activations] = [0, 0];
    for (const layer of [...inputs, this.middle_block, ...this.output_blocks].flat()) {
      const cost = layer.cost(size);
      flops += cost.flops;
      activations += cost.activations;
      size = cost.size;
    }
    return { flops, activations };
  }
}
