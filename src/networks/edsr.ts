/** EDSR, the super-resolution network, at constant size: a denoiser of one noise level. */
import type { StepNetwork } from "../diffusion/chain/step-network.js";
import type { Pass } from "../diffusion/denoiser.js";
import { type Convolution, Module } from "../nn/index.js";
import { cat, relu, type Tensor, zerosLike } from "../torch/index.js";
import { convolution, convolutionFlops } from "./guided/layer.js";
import { inPrecision } from "./precision.js";

export interface EdsrOptions {
  /** Channels of the image, C. */
  readonly imageChannels: number;
  /** C, or 2C where the chain's networks also predict variances: this one's are zeros. */
  readonly outChannels: number;
  /** Feature channels. */
  readonly channels: number;
  readonly residualBlocks: number;
}

/** `x + 3 conv(relu(conv(x)))` */
class EdsrBlock extends Module {
  readonly body: readonly [Convolution, null, Convolution];

  constructor(channels: number) {
    super();
    this.body = [convolution(channels, channels), null, convolution(channels, channels)];
  }

  forward(x: Tensor): Tensor {
    const [first, , second] = this.body;
    return x.add(second.forward(relu(first.forward(x))).mul(3));
  }
}

/**
 * A head, blocks that each are followed by the head's output once more, a tail. Without time: it knows one noise level.
 * The official code's last convolution of the body and its shifts of the mean are never applied, hence absent.
 */
export class Edsr extends Module implements StepNetwork {
  // Fields carry the names, and arrays the positions, of the official state dict; null is a layer without parameters.
  readonly head: readonly [Convolution];
  readonly body: readonly EdsrBlock[];
  readonly tail: readonly [null, Convolution];
  readonly #options: EdsrOptions;

  constructor(options: EdsrOptions) {
    super();
    const { imageChannels, channels, residualBlocks } = options;
    this.#options = options;
    this.head = [convolution(imageChannels, channels)];
    this.body = Array.from({ length: residualBlocks }, () => new EdsrBlock(channels));
    this.tail = [null, convolution(channels, imageChannels)];
  }

  /** `x` `[B, C, H, W]` -> `[B, outChannels, H, W]` in x's dtype. */
  forward(x: Tensor, _t: Tensor, _condition: Tensor | undefined, pass: Pass): Tensor {
    const stem = this.head[0].forward(x.clone("channelsLast"));
    const h = inPrecision(pass, stem, (first) =>
      this.body.reduce((feature, block) => block.forward(feature).add(first), first),
    );
    const y = this.tail[1].forward(h);
    return this.#options.outChannels === this.#options.imageChannels ? y : cat([y, zerosLike(y)], 1);
  }

  flops(height: number, width: number): number {
    const { imageChannels, channels, residualBlocks } = this.#options;
    const size = { height, width };
    return (
      2 * convolutionFlops(imageChannels, channels, size) +
      2 * residualBlocks * convolutionFlops(channels, channels, size)
    );
  }

  activations(height: number, width: number): number {
    const { channels, residualBlocks } = this.#options;
    return (2 * residualBlocks + 1) * channels * height * width; // inputs of both convolutions, and of the tail
  }
}
