/** A small network for points rather than images: the swirl experiment of VDM's notebook. */
import type { Denoiser, Pass } from "../diffusion/denoiser.js";
import { type Initialiser, Linear, Module } from "../nn/index.js";
import { cat, type Tensor } from "../torch/index.js";
import { fourierFeatures } from "./features.js";

export interface MlpOptions {
  /** Dimensions of a point, D. */
  readonly dimensions: number;
  readonly hidden: number;
  readonly fourierExponents: readonly number[];
  readonly gammaMin: number;
  readonly gammaMax: number;
  /** Law of the last layer's weights; default lecun normal. */
  readonly lastLaw?: Initialiser;
}

/** `[z, 2 tau - 1]` and their Fourier features through two hidden layers; no skip from z. Points are `[B, D]`. */
export class Mlp extends Module implements Denoiser {
  readonly dense0: Linear;
  readonly dense1: Linear;
  readonly dense2: Linear;
  readonly #options: MlpOptions;

  constructor(options: MlpOptions) {
    super();
    const { dimensions, hidden, fourierExponents } = options;
    this.#options = options;
    this.dense0 = new Linear((dimensions + 1) * (1 + 2 * fourierExponents.length), hidden);
    this.dense1 = new Linear(hidden, hidden);
    this.dense2 = new Linear(hidden, dimensions, { law: options.lastLaw });
  }

  forward(z: Tensor, gamma: Tensor, _condition: Tensor, _pass: Pass): Tensor {
    const { fourierExponents, gammaMin, gammaMax } = this.#options;
    const tau = gamma.sub(gammaMin).div(gammaMax - gammaMin);
    const input = cat([z, tau.mul(2).sub(1).to(z.dtype).unsqueeze(1)], 1);
    const features = cat([input, fourierFeatures(input, fourierExponents)], 1);
    return this.dense2.forward(this.dense1.forward(this.dense0.forward(features).silu()).silu());
  }
}
