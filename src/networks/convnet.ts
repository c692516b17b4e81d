/** A convolutional classifier for small colour images, and the feature vector that its classes are read from. */
import type { Pass } from "../diffusion/denoiser.js";
import { UserError } from "../errors.js";
import { Convolution, fanInUniform, GroupNorm, Linear, Module } from "../nn/index.js";
import { dropout, maxPool2d, type Tensor } from "../torch/index.js";
import { type Classified, type ClassifierNetwork, spatialChannels } from "./classifier-network.js";
import { inPrecision } from "./precision.js";

const groups = 8;

export interface ConvNetOptions {
  /** `[C, H, W]` */
  readonly shape: readonly [channels: number, height: number, width: number];
  readonly classes: number;
  /** Of the first of three stages; the others have twice as many, and so has the feature vector. */
  readonly channels: number;
  /** Of the feature vector, in training. */
  readonly dropout: number;
}

/** Two 3x3 convolutions, each normalised and activated. */
class Stage extends Module {
  readonly conv1: Convolution;
  readonly norm1: GroupNorm;
  readonly conv2: Convolution;
  readonly norm2: GroupNorm;

  constructor(channelsIn: number, channelsOut: number) {
    super();
    this.conv1 = new Convolution(channelsIn, channelsOut);
    this.norm1 = new GroupNorm(channelsOut, { groups, activation: "silu" });
    this.conv2 = new Convolution(channelsOut, channelsOut);
    this.norm2 = new GroupNorm(channelsOut, { groups, activation: "silu" });
  }

  forward(x: Tensor): Tensor {
    return this.tail(this.conv1.forward(x));
  }

  /** All but the first convolution. */
  tail(h: Tensor): Tensor {
    return this.norm2.forward(this.conv2.forward(this.norm1.forward(h)));
  }
}

/**
 * Three stages with maximum poolings of 2 between them; the mean over positions of the last map is the feature vector,
 * 128 numbers with 64 channels, and the first 7 channels of that map are the spatial features (7 x 8 x 8 = 448 of a 32x32
 * image).
 */
export class ConvNet extends Module implements ClassifierNetwork {
  readonly stages: readonly [Stage, Stage, Stage];
  readonly head: Linear;
  readonly #options: ConvNetOptions;

  /** @throws UserError for images too small for two poolings. */
  constructor(options: ConvNetOptions) {
    super();
    const { shape, classes, channels } = options;
    const [imageChannels, height, width] = shape;
    if (height < 4 || width < 4)
      throw new UserError(
        `expected images of at least 4 x 4 for model.network.kind convnet, got ${height} x ${width}: set data.size`,
      );
    this.#options = options;
    this.stages = [
      new Stage(imageChannels, channels),
      new Stage(channels, 2 * channels),
      new Stage(2 * channels, 2 * channels),
    ];
    const law = fanInUniform(2 * channels);
    this.head = new Linear(2 * channels, classes, { law, biasLaw: law });
  }

  forward(x: Tensor, pass: Pass): Classified {
    const [first, ...rest] = this.stages;
    const stem = first.conv1.forward(x.clone("channelsLast"));
    const map = inPrecision(pass, stem, (h) =>
      rest.reduce((outer, stage) => stage.forward(maxPool2d(outer, 2)), first.tail(h)),
    );
    const features = map.mean([2, 3]);
    return {
      logits: this.head.forward(dropout(features, this.#options.dropout, pass.dropout)),
      features,
      spatial: map.narrow(1, 0, spatialChannels).contiguous().flatten(1),
    };
  }

  /** Of the convolutions: all but the whole in the rest is small. */
  flops(height: number, width: number): number {
    const { shape, channels } = this.#options;
    const widths = [
      [shape[0], channels],
      [channels, 2 * channels],
      [2 * channels, 2 * channels],
    ] as const;
    return widths.reduce((sum, [from, to], i) => {
      const positions = Math.floor(height / 2 ** i) * Math.floor(width / 2 ** i);
      return sum + 2 * positions * 9 * (from + to) * to;
    }, 0);
  }
}
