/** VDM's score network: a U-Net that never changes resolution (VDM, appendix B.1 and the official code). */
import type { Denoiser, Pass, Recompute } from "../diffusion/denoiser.js";
import { Convolution, GroupNorm, Linear, Module, zero } from "../nn/index.js";
import { cat, linear, type Tensor } from "../torch/index.js";
import { ascend } from "./ascent.js";
import { timestepEmbedding, withFourierFeatures } from "./features.js";
import { inPrecision } from "./precision.js";
import { segment } from "./segment.js";
import { type AttentionPlace, Middle, Stage } from "./stages.js";

export interface VdmUnetOptions {
  /** Channels of the image, C. */
  readonly imageChannels: number;
  /** Feature channels E, a multiple of 32 and more than 32: with one channel a group, normalisation erases the condition. */
  readonly channels: number;
  /** Residual blocks on the way down, L; the way up has L + 1. */
  readonly depth: number;
  readonly attention: AttentionPlace;
  /** Exponents n of the Fourier features `2 pi 2^n`; none where empty. */
  readonly fourierExponents: readonly number[];
  readonly dropout: number;
  /** `tau = (gamma - gammaMin) / (gammaMax - gammaMin)`: constants, also where the schedule's ends are learned. */
  readonly gammaMin: number;
  readonly gammaMax: number;
  /** Numbers of the condition of an image, K. Default 1. */
  readonly conditionFeatures?: number;
  /**
   * What the network is told of a noise level per pixel: its `mean` over the image (the default), or the `map`, every
   * channel's level of every pixel (MuLAN's `unet_type: ldm`).
   */
  readonly noiseLevel?: "mean" | "map";
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
  readonly #options: Required<VdmUnetOptions>;

  /** @throws Error when the channels are no multiple of 32. */
  constructor(options: VdmUnetOptions) {
    super();
    const { imageChannels, channels, depth, fourierExponents } = options;
    const { conditionFeatures = 1, noiseLevel = "mean" } = options;
    this.#options = { ...options, conditionFeatures, noiseLevel };
    const levels = noiseLevel === "map" ? imageChannels : 1;
    const width = 4 * channels;
    this.dense0 = new Linear(levels * channels + conditionFeatures, width);
    this.dense1 = new Linear(width, width);
    this.convIn = new Convolution(imageChannels * (1 + 2 * fourierExponents.length), channels);
    const stage = { ...options, channelsOut: channels, conditionFeatures: width };
    this.down = Array.from({ length: depth }, () => new Stage({ ...stage, channelsIn: channels }));
    this.middle = new Middle({ ...options, conditionFeatures: width });
    this.up = Array.from({ length: depth + 1 }, () => new Stage({ ...stage, channelsIn: 2 * channels }));
    this.normOut = new GroupNorm(channels, { activation: "silu" });
    this.convOut = new Convolution(channels, imageChannels, { law: zero });
  }

  /**
   * `z` `[B, C, H, W]`, `gamma` `[B]` or per pixel `[B, C, H, W]`, `condition` `[B]` or `[B, K]` -> `[B, C, H, W]` in
   * z's dtype.
   */
  forward(z: Tensor, gamma: Tensor, condition: Tensor, pass: Pass): Tensor {
    const { fourierExponents, noiseLevel } = this.#options;
    const numbers = (condition.rank === 1 ? condition.unsqueeze(1) : condition).to(z.dtype);
    const input = withFourierFeatures(z, fourierExponents);
    const stem = this.convIn.forward(input.clone("channelsLast"));

    // Stem, features, output and the skip of z keep z's own precision; what lies between runs in that of the pass. One
    // condition an image costs nothing in full precision, one a position as much as a convolution.
    const hidden =
      noiseLevel === "map" ? this.#hiddenMap(z, gamma, numbers) : this.#hiddenMean(gamma, numbers);
    const widen = () => this.dense1.forward(hidden).silu();
    const c = noiseLevel === "map" ? undefined : widen();
    const h = inPrecision(pass, stem, (first) => this.#body(first, c ?? widen(), pass));
    return this.convOut.forward(h).add(z);
  }

  #tau(gamma: Tensor): Tensor {
    const { gammaMin, gammaMax } = this.#options;
    return gamma.sub(gammaMin).div(gammaMax - gammaMin);
  }

  /** First layer of the condition, `[B, 4E]`. */
  #hiddenMean(gamma: Tensor, numbers: Tensor): Tensor {
    const tau = this.#tau(gamma.rank === 1 ? gamma : gamma.flatten(1).mean([1]));
    const embedding = timestepEmbedding(tau, this.#options.channels); // thousands of radians: in gamma's float64
    return this.dense0.forward(cat([embedding.to(numbers.dtype), numbers], 1)).silu();
  }

  /** The same of every position, `[B, H, W, 4E]`; `[B, 1, 1, 4E]` where all have one level. */
  #hiddenMap(z: Tensor, gamma: Tensor, numbers: Tensor): Tensor {
    const { channels, imageChannels } = this.#options;
    const levels = gamma.rank === 1 ? gamma.reshape([-1, 1, 1, 1]).expand([-1, z.dim(1), 1, 1]) : gamma;
    const embedding = timestepEmbedding(this.#tau(levels).permute([0, 2, 3, 1]), channels)
      .to(z.dtype)
      .flatten(3);
    // dense0 of [embedding, numbers] without writing the numbers once a position
    const { weight, bias } = this.dense0;
    const split = imageChannels * channels;
    const shared = linear(numbers, weight.value.narrow(1, split, numbers.dim(1)), bias?.value ?? null);
    return linear(embedding, weight.value.narrow(1, 0, split), null)
      .add(shared.unsqueeze(1).unsqueeze(1))
      .silu();
  }

  #body(first: Tensor, condition: Tensor, pass: Pass): Tensor {
    let [h, c] = [first, condition];
    const skips: Tensor[] = [];
    for (const block of [...this.down, this.middle]) {
      let skip: Tensor;
      [h, c, skip] = segment(pass, [h, c], ([h, c], keys) => [block.forward(h, c, keys), c, h]);
      skips.push(skip);
    }
    const up = ascend(this.up, { h, embedding: c, skips }, pass, (stage, joined, c, keys) =>
      stage.forward(joined, c, keys),
    );
    return this.normOut.forward(up);
  }

  flops(height: number, width: number): number {
    const { imageChannels: C, channels: E, depth: L, fourierExponents } = this.#options;
    const { conditionFeatures, noiseLevel } = this.#options;
    const positions = height * width;
    const conv = (i: number, o: number, k: number) => 2 * k * k * i * o * positions;
    const conditions = noiseLevel === "map" ? positions : 1;
    const levels = noiseLevel === "map" ? C : 1;
    const block = (i: number) =>
      conv(i, E, 3) + conv(E, E, 3) + 2 * 4 * E * E * conditions + (i === E ? 0 : conv(i, E, 1));
    const attend = 4 * conv(E, E, 1) + 4 * positions * positions * E;
    const stages = L * block(E) + 2 * block(E) + (L + 1) * block(2 * E);
    const condition = conditions * (2 * levels * E * 4 * E + 2 * 16 * E * E) + 2 * conditionFeatures * 4 * E;
    return (
      condition +
      conv(C * (1 + 2 * fourierExponents.length), E, 3) +
      stages +
      this.#attentions() * attend +
      conv(E, C, 3)
    );
  }

  activations(height: number, width: number, recompute: Recompute = "none"): number {
    const { imageChannels: C, channels: E, depth: L, noiseLevel, attention } = this.#options;
    const positions = height * width;
    // Kept for backward: inputs of both normalisations and both convolutions, the sum; on the way up the wide ones.
    const block = 5 * E * positions;
    const wide = 8 * E * positions;
    const attend = 6 * E * positions;
    // The embedding, and what lies before and behind both activations of the condition.
    const condition = noiseLevel === "map" ? (C * E + 16 * E) * positions : 0;
    if (recompute === "none")
      return condition + (L + 2) * block + (L + 1) * wide + this.#attentions() * attend;
    // The input of every block, and one of them again.
    const middle = 2 * block + (attention === "none" ? 0 : attend);
    const last = wide + (attention === "everywhere" ? attend : 0);
    return condition + (2 * L + 2) * E * positions + Math.max(middle, last);
  }

  #attentions(): number {
    const { depth, attention } = this.#options;
    return { none: 0, middle: 1, everywhere: 2 * depth + 2 }[attention];
  }
}
