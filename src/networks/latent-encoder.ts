/** MuLAN's networks for the auxiliary latent, `q(z | x0)`: a U-Net's way down, and a small convolutional network. */
import type { Pass } from "../diffusion/denoiser.js";
import type { LatentEncoder } from "../diffusion/encoder.js";
import { Convolution, GroupNorm, Linear, Module, zero } from "../nn/index.js";
import { cat, relu, type Tensor, zeros } from "../torch/index.js";
import { timestepEmbedding, withFourierFeatures } from "./features.js";
import { inPrecision } from "./precision.js";
import { segment } from "./segment.js";
import { type AttentionPlace, Middle, Stage } from "./stages.js";

/** What every network of the latent needs to know. */
export interface LatentOptions {
  readonly imageChannels: number;
  readonly height: number;
  readonly width: number;
  /** Width m of a head. */
  readonly outputs: number;
  /** One head for the logits of a discrete latent; two for mean and variance of a Gaussian one. */
  readonly heads: 1 | 2;
}

export interface LatentUnetOptions extends LatentOptions {
  /** Feature channels n, a multiple of 32. */
  readonly channels: number;
  /** Residual blocks before the middle. */
  readonly depth: number;
  readonly attention: AttentionPlace;
  /** Exponents n of the Fourier features `2 pi 2^n`; none where empty. */
  readonly fourierExponents: readonly number[];
  readonly dropout: number;
}

/** The denoiser's blocks at constant size, one channel at the end, and a dense layer a head (MuLAN's official encoder). */
export class LatentUnet extends Module implements LatentEncoder {
  readonly dense0: Linear;
  readonly dense1: Linear;
  readonly convIn: Convolution;
  readonly down: readonly Stage[];
  readonly middle: Middle;
  readonly normOut: GroupNorm;
  readonly convOut: Convolution;
  readonly heads: readonly Linear[];
  readonly #options: LatentUnetOptions;

  /** @throws Error when the channels are no multiple of 32. */
  constructor(options: LatentUnetOptions) {
    super();
    const { imageChannels, height, width, outputs, heads, channels, depth, fourierExponents } = options;
    this.#options = options;
    const conditionFeatures = 4 * channels;
    this.dense0 = new Linear(channels + 1, conditionFeatures);
    this.dense1 = new Linear(conditionFeatures, conditionFeatures);
    this.convIn = new Convolution(imageChannels * (1 + 2 * fourierExponents.length), channels);
    const stage = { ...options, channelsIn: channels, channelsOut: channels, conditionFeatures };
    this.down = Array.from({ length: depth }, () => new Stage(stage));
    this.middle = new Middle({ ...options, conditionFeatures });
    this.normOut = new GroupNorm(channels, { activation: "silu" });
    this.convOut = new Convolution(channels, 1, { law: zero });
    this.heads = Array.from({ length: heads }, () => new Linear(height * width, outputs));
  }

  /** `x0` `[B, C, H, W]` -> a `[B, m]` for every head, all 0 at initialisation. */
  forward(x0: Tensor, pass: Pass): Tensor[] {
    const { channels, fourierExponents } = this.#options;
    const { dtype, device } = x0;

    // The denoiser's condition at time 0 and class 0: a learned constant.
    const none = zeros([1], { dtype, device });
    const features = cat([timestepEmbedding(none, channels), none.unsqueeze(1)], 1);
    const constant = this.dense1.forward(this.dense0.forward(features).silu()).silu();
    const c = constant.expand([x0.dim(0), -1]); // [B, 4n]

    const input = withFourierFeatures(x0, fourierExponents);
    const stem = this.convIn.forward(input.clone("channelsLast"));
    const h = inPrecision(pass, stem, (first) => {
      let [h, told] = [first, c];
      for (const block of [...this.down, this.middle])
        [h, told] = segment(pass, [h, told], ([h, c], keys) => [block.forward(h, c, keys), c]);
      return this.normOut.forward(h);
    });
    const image = this.convOut.forward(h).flatten(1).silu(); // [B, H W]
    return this.heads.map((head) => head.forward(image));
  }
}

/** Two convolutions of 32 and 16 channels, each followed by ReLU, and a dense layer a head (MuLAN's small encoder). */
export class LatentCnn extends Module implements LatentEncoder {
  readonly conv0: Convolution;
  readonly conv1: Convolution;
  readonly heads: readonly Linear[];

  constructor({ imageChannels, height, width, outputs, heads }: LatentOptions) {
    super();
    this.conv0 = new Convolution(imageChannels, 32);
    this.conv1 = new Convolution(32, 16);
    this.heads = Array.from({ length: heads }, () => new Linear(16 * height * width, outputs));
  }

  /** `x0` `[B, C, H, W]` -> a `[B, m]` for every head; it is too small to gain from half precision. */
  forward(x0: Tensor, _pass: Pass): Tensor[] {
    const h = relu(this.conv1.forward(relu(this.conv0.forward(x0.clone("channelsLast")))));
    const features = h.permute([0, 2, 3, 1]).flatten(1); // a view: channels lie fastest
    return this.heads.map((head) => head.forward(features));
  }
}
