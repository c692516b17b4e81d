/** DiffEnc's inner encoders: a U-Net with down-sampling for images, and a small network for points. */
import type { Pass } from "../diffusion/denoiser.js";
import type { DataEncoder } from "../diffusion/encoder.js";
import { UserError } from "../errors.js";
import { Convolution, GroupNorm, Linear, Module, TransposedConvolution, zero } from "../nn/index.js";
import { cat, type DropoutKeys, maxPool2d, type Tensor } from "../torch/index.js";
import { ResidualBlock, type ResidualBlockOptions } from "./blocks.js";
import { timestepEmbedding } from "./features.js";
import { Mlp, type MlpOptions } from "./mlp.js";
import { inPrecision } from "./precision.js";
import { Middle } from "./stages.js";

/** `unet`: as many levels as blocks, one block each. `multiple-blocks`: several blocks on each of as many levels as fit. */
export type EncoderLayout = "unet" | "multiple-blocks";

export interface EncoderUnetOptions {
  /** Channels of the image, C. */
  readonly imageChannels: number;
  /** Height of the image, which sets the levels of `multiple-blocks`. */
  readonly height: number;
  /** Feature channels n of the first level; every further one has twice as many. */
  readonly channels: number;
  /** Residual blocks on the way down. */
  readonly blocks: number;
  readonly layout: EncoderLayout;
  /** Groups of the last normalisation, and of the middle blocks of `unet`. The official 16. */
  readonly groups: number;
  /** Groups of the other normalisations. The official 32. */
  readonly blockGroups: number;
  readonly dropout: number;
  /** `tau = (gamma - gammaMin) / (gammaMax - gammaMin)`: constants, also where the schedule's ends are learned. */
  readonly gammaMin: number;
  readonly gammaMax: number;
}

/**
 * How often a U-Net of `multiple-blocks` halves its image, the official rule: until the next height would be odd or is
 * 8 or less, and at most once a block.
 */
export function encoderLevels(height: number, blocks: number): number {
  for (let level = 1; level <= blocks; level++) {
    const halved = height / 2 ** level;
    if (halved % 2 === 1 || halved <= 8) return level;
  }
  return blocks;
}

class DownLevel extends Module {
  readonly blocks: readonly ResidualBlock[];

  constructor(count: number, options: ResidualBlockOptions) {
    super();
    const { channelsOut } = options;
    this.blocks = Array.from(
      { length: count },
      (_, i) => new ResidualBlock(i === 0 ? options : { ...options, channelsIn: channelsOut }),
    );
  }

  forward(x: Tensor, condition: Tensor, keys: DropoutKeys | undefined): Tensor {
    return this.blocks.reduce((h, block) => block.forward(h, condition, keys), x);
  }
}

class UpLevel extends Module {
  readonly expand: TransposedConvolution;
  readonly blocks: readonly ResidualBlock[];

  constructor(count: number, options: ResidualBlockOptions) {
    super();
    const { channelsIn, channelsOut } = options;
    this.expand = new TransposedConvolution(channelsIn, channelsOut);
    this.blocks = Array.from(
      { length: count },
      (_, i) => new ResidualBlock({ ...options, channelsIn: i === 0 ? 2 * channelsOut : channelsOut }),
    );
  }

  forward(x: Tensor, skip: Tensor, condition: Tensor, keys: DropoutKeys | undefined): Tensor {
    const joined = cat([this.expand.forward(x), skip], 1);
    return this.blocks.reduce((h, block) => block.forward(h, condition, keys), joined);
  }
}

/** `y = tanh(conv(...))` behind a U-Net that halves the image at every level (the official code's encoders). */
export class EncoderUnet extends Module implements DataEncoder {
  readonly dense0: Linear;
  readonly dense1: Linear;
  readonly convIn: Convolution;
  readonly down: readonly DownLevel[];
  readonly middle: Middle;
  /** The deepest level first. */
  readonly up: readonly UpLevel[];
  readonly normOut: GroupNorm;
  readonly convOut: Convolution;
  readonly #options: EncoderUnetOptions;

  /** @throws UserError when the height does not divide by 2 once a level, or the channels do not into the groups. */
  constructor(options: EncoderUnetOptions) {
    super();
    const { imageChannels, height, channels, blocks, layout, groups, blockGroups, dropout } = options;
    this.#options = options;
    const width = 4 * channels;
    const levels = layout === "unet" ? blocks : encoderLevels(height, blocks);
    const perLevel = Math.floor(blocks / levels);
    const block = { conditionFeatures: width, dropout, groups: blockGroups };
    const at = (level: number) => channels * 2 ** level;

    this.dense0 = new Linear(channels + 1, width);
    this.dense1 = new Linear(width, width);
    this.convIn = new Convolution(imageChannels, channels);
    this.down = Array.from(
      { length: levels },
      (_, i) => new DownLevel(perLevel, { ...block, channelsIn: at(Math.max(0, i - 1)), channelsOut: at(i) }),
    );
    this.middle = new Middle({
      channels: at(levels - 1),
      conditionFeatures: width,
      attention: "middle",
      dropout,
      groups: layout === "unet" ? groups : blockGroups,
      attentionGroups: blockGroups,
    });
    this.up = Array.from({ length: levels }, (_, i) => {
      const level = levels - 1 - i;
      return new UpLevel(perLevel, {
        ...block,
        channelsIn: at(Math.min(levels - 1, level + 1)),
        channelsOut: at(level),
      });
    });
    this.normOut = new GroupNorm(channels, { activation: "silu", groups });
    this.convOut = new Convolution(channels, imageChannels, { law: zero });
    this.#checkSize(height, height);
  }

  /**
   * `x` `[B, C, H, W]`, `gamma` `[B]`, `condition` `[B]` -> `[B, C, H, W]` in x's dtype.
   * @throws Error when height and width do not divide by 2 once a level.
   */
  forward(x: Tensor, gamma: Tensor, condition: Tensor, pass: Pass): Tensor {
    const { channels, gammaMin, gammaMax } = this.#options;
    this.#checkSize(x.dim(2), x.dim(3));

    const tau = gamma.sub(gammaMin).div(gammaMax - gammaMin);
    const embedding = timestepEmbedding(tau, channels).to(x.dtype); // thousands of radians: in gamma's float64
    const features = cat([embedding, condition.to(x.dtype).unsqueeze(1)], 1);
    const c = this.dense1.forward(this.dense0.forward(features).silu()).silu(); // [B, 4n]

    const stem = this.convIn.forward(x.clone("channelsLast"));
    const h = inPrecision(pass, stem, (first) => this.#body(first, c, pass.dropout));
    return this.convOut.forward(h).tanh();
  }

  #body(first: Tensor, c: Tensor, keys: DropoutKeys | undefined): Tensor {
    const skips: Tensor[] = [];
    let h = first;
    for (const level of this.down) {
      const skip = level.forward(h, c, keys);
      skips.push(skip);
      h = maxPool2d(skip, 2);
    }
    h = this.middle.forward(h, c, keys);
    for (const level of this.up) h = level.forward(h, skips.pop() as Tensor, c, keys);
    return this.normOut.forward(h);
  }

  #checkSize(height: number, width: number): void {
    const unit = 2 ** this.down.length;
    if (height % unit !== 0 || width % unit !== 0)
      throw new UserError(
        `expected images whose height and width are multiples of ${unit} (${this.down.length} levels, each half the last), got ${height} x ${width}: set data.size, or fewer blocks of the encoder`,
      );
  }
}

/** `y = tanh(mlp(x, gamma))` for points `[B, D]`: VDM's small network with a last layer that starts at zero. */
export class EncoderMlp extends Module implements DataEncoder {
  readonly mlp: Mlp;

  constructor(options: Omit<MlpOptions, "lastLaw">) {
    super();
    this.mlp = new Mlp({ ...options, lastLaw: zero });
  }

  forward(x: Tensor, gamma: Tensor, condition: Tensor, pass: Pass): Tensor {
    return this.mlp.forward(x, gamma, condition, pass).tanh();
  }
}
