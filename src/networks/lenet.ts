/** LeNet-5 with rectifiers: a small classifier whose last but one layer is a feature vector of grey images. */
import type { Pass } from "../diffusion/denoiser.js";
import { UserError } from "../errors.js";
import { Convolution, fanInUniform, Linear, Module } from "../nn/index.js";
import { maxPool2d, relu, type Tensor } from "../torch/index.js";
import { type Classified, type ClassifierNetwork, spatialChannels } from "./classifier-network.js";

const kernel = 5;
/** Of the two convolutions. */
const [channels1, channels2] = [6, 16];
/** Of the two hidden layers behind them; the second is the feature vector. */
const [hidden, features] = [120, 84];

export interface LeNetOptions {
  /** `[C, H, W]` */
  readonly shape: readonly [channels: number, height: number, width: number];
  readonly classes: number;
}

/** A side after a 5x5 convolution without padding and a pooling of 2. */
function halved(side: number): number {
  return Math.floor((side - kernel + 1) / 2);
}

function convolution(channelsIn: number, channelsOut: number): Convolution {
  const law = fanInUniform(kernel * kernel * channelsIn);
  return new Convolution(channelsIn, channelsOut, { kernel, padding: "valid", law, biasLaw: law });
}

function dense(featuresIn: number, featuresOut: number): Linear {
  const law = fanInUniform(featuresIn);
  return new Linear(featuresIn, featuresOut, { law, biasLaw: law });
}

/**
 * `conv1` C -> 6 and `conv2` 6 -> 16, 5x5 without padding, each with a rectifier and a maximum pooling of 2; `fc1` -> 120,
 * `fc2` -> 84, whose output before the rectifier are the features, and `fc3` -> K. The spatial features are the first 7
 * channels of conv2's map behind the rectifier, before the pooling: 7 x 8 x 8 = 448 numbers of a 28x28 image. Drawn from
 * PyTorch's default laws.
 */
export class LeNet extends Module implements ClassifierNetwork {
  readonly conv1: Convolution;
  readonly conv2: Convolution;
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly fc3: Linear;

  /** @throws UserError for images too small for two convolutions without padding. */
  constructor({ shape: [channels, height, width], classes }: LeNetOptions) {
    super();
    const [h, w] = [halved(halved(height)), halved(halved(width))];
    if (h < 1 || w < 1)
      throw new UserError(
        `expected images of at least 16 x 16 for model.network.kind lenet, got ${height} x ${width}: set model.network.kind=convnet`,
      );
    this.conv1 = convolution(channels, channels1);
    this.conv2 = convolution(channels1, channels2);
    this.fc1 = dense(channels2 * h * w, hidden);
    this.fc2 = dense(hidden, features);
    this.fc3 = dense(features, classes);
  }

  forward(x: Tensor, _pass: Pass): Classified {
    const first = maxPool2d(relu(this.conv1.forward(x)), 2);
    const map = relu(this.conv2.forward(first));
    const flat = maxPool2d(map, 2).contiguous().flatten(1);
    const vector = this.fc2.forward(relu(this.fc1.forward(flat)));
    return {
      logits: this.fc3.forward(relu(vector)),
      features: vector,
      spatial: map.narrow(1, 0, spatialChannels).contiguous().flatten(1),
    };
  }
}
