/** VDM's score network: a U-Net that never changes resolution (VDM, appendix B.1 and the official code). */
import type { Denoiser, Pass } from "../diffusion/denoiser.js";
import { Convolution, GroupNorm, Linear, Module, zero } from "../nn/index.js";
import { autocast, cat, type DropoutKeys, type Tensor } from "../torch/index.js";
import { AttentionBlock, ResidualBlock } from "./blocks.js";
import { fourierFeatures, timestepEmbedding } from "./features.js";

export interface VdmUnetOptions {
  /** Channels of the image, C. */
  readonly imageChannels: number;
  /** Feature channels E, a multiple of 32 and more than 32: with one channel a group, normalisation erases the condition. */
  readonly channels: number;
  /** Residual blocks on the way down, L; the way up has L + 1. */
  readonly depth: number;
  /** Attention in the middle alone (the paper's), after every block too, or none at all (for small machines). */
  readonly attention: "middle" | "everywhere" | "none";
  /** Exponents n of the Fourier features `2 pi 2^n`; none where empty. */
  readonly fourierExponents: readonly number[];
  readonly dropout: number;
  /** `tau = (gamma - gammaMin) / (gammaMax - gammaMin)`: constants, also where the schedule's ends are learned. */
  readonly gammaMin: number;
  readonly gammaMax: number;
}

/** A residual block, and the attention that follows it in some configurations. */
class Stage extends Module {
  readonly block: ResidualBlock;
  readonly attention: AttentionBlock | undefined;

  constructor(channelsIn: number, options: VdmUnetOptions) {
    super();
    const { channels, attention, dropout } = options;
    this.block = new ResidualBlock({
      channelsIn,
      channelsOut: channels,
      conditionFeatures: 4 * channels,
      dropout,
    });
    this.attention = attention === "everywhere" ? new AttentionBlock(channels) : undefined;
  }

  forward(x: Tensor, condition: Tensor, keys: DropoutKeys | undefined): Tensor {
    const h = this.block.forward(x, condition, keys);
    return this.attention ? this.attention.forward(h) : h;
  }
}

class Middle extends Module {
  readonly block1: ResidualBlock;
  readonly attention: AttentionBlock | undefined;
  readonly block2: ResidualBlock;

  constructor({ channels, attention, dropout }: VdmUnetOptions) {
    super();
    const block = { channelsIn: channels, channelsOut: channels, conditionFeatures: 4 * channels, dropout };
    this.block1 = new ResidualBlock(block);
    this.attention = attention === "none" ? undefined : new AttentionBlock(channels);
    this.block2 = new ResidualBlock(block);
  }

  forward(x: Tensor, condition: Tensor, keys: DropoutKeys | undefined): Tensor {
    const h = this.block1.forward(x, condition, keys);
    return this.block2.forward(this.attention ? this.attention.forward(h) : h, condition, keys);
  }
}

/** `z -> z + conv(...)`: at initialisation it returns z exactly. */
export class VdmUnet extends Module implements Denoiser {
  readonly dense0: Linear;
  readonly dense1: Linear;
  readonly convIn: Convolution;
  readonly down: readonly Stage[];
  readonly middle: Middle;
  readonly up: readonly Stage[];
  readonly normOut: GroupNorm;
  readonly convOut: Convolution;
  readonly #options: VdmUnetOptions;

  /** @throws Error when the channels are no multiple of 32. */
  constructor(options: VdmUnetOptions) {
    super();
    const { imageChannels, channels, depth, fourierExponents } = options;
    this.#options = options;
    this.dense0 = new Linear(channels + 1, 4 * channels);
    this.dense1 = new Linear(4 * channels, 4 * channels);
    this.convIn = new Convolution(imageChannels * (1 + 2 * fourierExponents.length), channels);
    this.down = Array.from({ length: depth }, () => new Stage(channels, options));
    this.middle = new Middle(options);
    this.up = Array.from({ length: depth + 1 }, () => new Stage(2 * channels, options));
    this.normOut = new GroupNorm(channels, { activation: "silu" });
    this.convOut = new Convolution(channels, imageChannels, { law: zero });
  }

  /** `z` `[B, C, H, W]`, `gamma` `[B]`, `condition` `[B]` -> `[B, C, H, W]` in z's dtype. */
  forward(z: Tensor, gamma: Tensor, condition: Tensor, pass: Pass): Tensor {
    const { channels, fourierExponents, gammaMin, gammaMax } = this.#options;
    const keys = pass.dropout;

    const tau = gamma.sub(gammaMin).div(gammaMax - gammaMin);
    const embedding = timestepEmbedding(tau, channels).to(z.dtype); // thousands of radians: in gamma's float64
    let c = cat([embedding, condition.to(z.dtype).unsqueeze(1)], 1);
    c = this.dense0.forward(c).silu();
    c = this.dense1.forward(c).silu(); // [B, 4E]

    const input = fourierExponents.length > 0 ? cat([z, fourierFeatures(z, fourierExponents)], 1) : z;
    const stem = this.convIn.forward(input.clone("channelsLast"));

    // Stem, features, output and the skip of z keep z's own precision; what lies between runs in that of the pass.
    const body = (first: Tensor): Tensor => {
      const hs = [first];
      let h = first;
      for (const stage of this.down) {
        h = stage.forward(h, c, keys);
        hs.push(h);
      }
      h = this.middle.forward(h, c, keys);
      for (const stage of this.up) h = stage.forward(cat([h, hs.pop() as Tensor], 1), c, keys);
      return this.normOut.forward(h);
    };
    const { precision } = pass;
    const half = precision === "bfloat16" || precision === "float16";
    const device = z.device.startsWith("cuda") ? "cuda" : "cpu";
    const h = half ? autocast({ dtype: precision, device }, () => body(stem.to(precision))) : body(stem);
    return this.convOut.forward(h.to(z.dtype)).add(z);
  }

  flops(height: number, width: number): number {
    const { imageChannels: C, channels: E, depth: L, fourierExponents } = this.#options;
    const positions = height * width;
    const conv = (i: number, o: number, k: number) => 2 * k * k * i * o * positions;
    const block = (i: number) =>
      conv(i, E, 3) + conv(E, E, 3) + 2 * 4 * E * E + (i === E ? 0 : conv(i, E, 1));
    const attend = 4 * conv(E, E, 1) + 4 * positions * positions * E;
    const stages = L * block(E) + 2 * block(E) + (L + 1) * block(2 * E);
    const condition = 2 * (E + 1) * 4 * E + 2 * 16 * E * E;
    return (
      condition +
      conv(C * (1 + 2 * fourierExponents.length), E, 3) +
      stages +
      this.#attentions() * attend +
      conv(E, C, 3)
    );
  }

  activations(height: number, width: number): number {
    const { channels: E, depth: L } = this.#options;
    const positions = height * width;
    // Kept for backward: inputs of both normalisations and both convolutions, the sum; on the way up the wide ones.
    const block = 5 * E * positions;
    const wide = 8 * E * positions;
    const attend = 6 * E * positions + 3 * positions * positions;
    return (L + 2) * block + (L + 1) * wide + this.#attentions() * attend;
  }

  #attentions(): number {
    const { depth, attention } = this.#options;
    return { none: 0, middle: 1, everywhere: 2 * depth + 2 }[attention];
  }
}
