/** Small systems of points [3] whose networks are disturbed, for identities that hold whatever the weights. */
import type { Denoiser } from "../../src/diffusion/denoiser.js";
import {
  convertPrediction,
  type Encoding,
  FixedLinear,
  NoiseLevel,
  type PredictionKind,
  perImage,
  Trainable,
} from "../../src/diffusion/index.js";
import { EncoderMlp, Mlp } from "../../src/networks/index.js";
import { Module } from "../../src/nn/index.js";
import { DiffEnc, type DiffEncOptions } from "../../src/systems/diffenc.js";
import type { GaussianDraws } from "../../src/systems/gaussian.js";
import { Generator, rand, randint, randn, Streams, type Tensor } from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { readmeEnds } from "../vdm/toy.js";

const float64 = { dtype: "float64" } as const;
const mlp = { dimensions: 3, hidden: 16, fourierExponents: [0, 1], ...readmeEnds };

export const shape = [3];
export const schedule = new FixedLinear(readmeEnds);
export const denoiser: Mlp = disturb(new Mlp(mlp).initialise(new Streams(1), float64), 1, 0.3);

/** A trained encoder, or one that is as it was made: y = 0. */
export function encoderMlp(state: "trained" | "fresh" = "trained"): EncoderMlp {
  const network = new EncoderMlp(mlp).initialise(new Streams(2), float64);
  return state === "fresh" ? network : disturb(network, 2, 0.3);
}

export const trained: Encoding = new Trainable({ network: encoderMlp() });

/** v prediction unless said otherwise. */
export function diffEnc(options: Partial<DiffEncOptions> = {}): DiffEnc {
  return new DiffEnc({ shape, schedule, denoiser, encoding: trained, prediction: "v", ...options });
}

const count = 6;
const generator = new Generator({ seed: 3 });
const noise = () => randn([count, ...shape], generator, float64);

/** Points as pixels, with a time for each. */
export const x: Tensor = randint(0, 256, [count, ...shape], generator).to("float64");
export const draws: GaussianDraws = { t: rand([count], generator, float64), eps: noise(), eps0: noise() };
/** The same in [-1, 1]. */
export const f: Tensor = x.add(0.5).div(128).sub(1);
export const context = { condition: rand([count], generator, float64), pass: {} };

/** Another network's output, said as another kind. */
export class Said extends Module implements Denoiser {
  readonly inner: Denoiser;
  readonly #kinds: readonly [from: PredictionKind, to: PredictionKind];

  constructor(inner: Denoiser, from: PredictionKind, to: PredictionKind) {
    super();
    this.inner = inner;
    this.#kinds = [from, to];
  }

  forward(z: Tensor, gamma: Tensor, condition: Tensor): Tensor {
    const out = this.inner.forward(z, gamma, condition, {});
    return convertPrediction(out, ...this.#kinds, z, new NoiseLevel(perImage(gamma, z.rank)));
  }
}
