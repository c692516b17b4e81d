/** Cold diffusion whose networks are formulas, and what a figure of it is drawn from. */
import type { FigureContext } from "../../src/analysis/figure.js";
import { memorySource } from "../../src/data/source.js";
import type { LatentLevelNetwork, LevelNetwork, LevelTimes } from "../../src/diffusion/cold/level-network.js";
import { blackStart, type Start } from "../../src/diffusion/cold/start/index.js";
import { type Degradation, Fading } from "../../src/diffusion/degradation/index.js";
import { zero } from "../../src/nn/initialisers.js";
import { Module, Parameter } from "../../src/nn/module.js";
import {
  ColdDiffusion,
  type ColdOptions,
  type ColdWalkOptions,
  VariationalColdDiffusion,
} from "../../src/systems/index.js";
import { fromTypedArray, Streams, type Tensor, tensor, zerosLike } from "../../src/torch/index.js";
import { toyContext } from "./toy.js";

export const side = 8;
export const shape = [1, side, side] as const;
const pixels = side * side;

/** Row 6 of the cosine transform along x: of 6/8 of the highest frequency. */
export const fine = Float64Array.from({ length: pixels }, (_, at) =>
  Math.cos((Math.PI * (2 * (at % side) + 1) * 6) / (2 * side)),
);
/** `||fine||^2`, S / 2 a row; that of an image of ones is 64. */
export const fineNorm = (side * side) / 2;

abstract class Formula extends Module {
  /** Where and in which dtype the system computes. */
  readonly unused = new Parameter([1], zero);
}

/** What a latent of two numbers adds at level k: `coarse[k - 1] z_0` to all pixels, `fine[k - 1] z_1` of the pattern. */
export interface Amplitudes {
  readonly coarse: readonly number[];
  readonly fine: readonly number[];
}

/** `f = 0.5 / T + coarse_k z_0 + fine_k z_1 pattern`, and latents that say by how much the target is brighter. */
class Painting extends Formula implements LatentLevelNetwork {
  readonly latentSize = 2;
  readonly #amplitudes: Amplitudes;

  constructor(amplitudes: Amplitudes) {
    super();
    this.#amplitudes = amplitudes;
  }

  #at(values: readonly number[], { t }: LevelTimes): Tensor {
    return tensor([...values], { dtype: "float64" })
      .indexSelect(0, t)
      .reshape([-1, 1, 1, 1]);
  }

  encode(x: Tensor, target: Tensor, times: LevelTimes) {
    const rise = target.sub(x).mean([1, 2, 3], { keepDims: true }).sub(this.#base);
    const coarse = rise.div(this.#at(this.#amplitudes.coarse, times)).reshape([-1, 1]);
    const mean = coarse.mul(tensor([[1, 0]], { dtype: "float64" }));
    // A posterior without spread: exp(-400 / 2) is 1e-87.
    return { mean, logVariance: zerosLike(mean).sub(400) };
  }

  forward(_x: Tensor, times: LevelTimes, latent: Tensor): Tensor {
    const part = (i: number) => latent.select(1, i).reshape([-1, 1, 1, 1]);
    const pattern = fromTypedArray(fine, [1, ...shape]);
    const { coarse, fine: fineAt } = this.#amplitudes;
    const flat = part(0)
      .mul(this.#at(coarse, times))
      .expand([latent.dim(0), ...shape]);
    return flat.add(part(1).mul(this.#at(fineAt, times)).mul(pattern)).add(this.#base);
  }

  get #base(): number {
    return BASE / this.#amplitudes.coarse.length;
  }
}

/** The brightness of an image whose latents are 0. */
export const BASE = 0.5;

/** Half of what is there, so that noise on the way leaves its mark. */
class Fainter extends Formula implements LevelNetwork {
  forward(x: Tensor): Tensor {
    return x.mul(-0.5);
  }
}

const common = (degradation: Degradation, start: Start): Omit<ColdOptions, "network"> => ({
  ...{ shape, degradation, start, startNoise: 0, inputNoise: 0, stepNoise: 0, overlookedNoise: 0 },
  prediction: "previous",
  numbering: "from-zero",
  clamp: [-1, 1],
  jump: 1,
  trainedJumps: "one",
  loss: { distance: "l2", reduction: "sum" },
  lossWeighting: "none",
});

const initialised = { dtype: "float64" } as const;

/** A variational system of as many levels as there are amplitudes, whose degradation is fading alone. */
export function paintingSystem(
  amplitudes: Amplitudes,
  more: Partial<ColdWalkOptions> = {},
): VariationalColdDiffusion {
  const degradation = new Fading(amplitudes.coarse.length, { curve: "linear" });
  return new VariationalColdDiffusion({
    ...common(degradation, blackStart({ degradation, shape })),
    ...{ beta: 1, klAnnealing: 0, inputDropout: 0 },
    perturbation: "none",
    latentMode: "shared",
    teacher: { level: "input", resetProbability: 0, warmResetProbability: 0, warmup: 0, counter: "official" },
    network: new Painting(amplitudes),
    ...more,
  }).initialise(new Streams(0), initialised);
}

/** A system without latents. */
export function faintSystem(degradation: Degradation, start: Start, more: Partial<ColdWalkOptions> = {}) {
  const options = { ...common(degradation, start), network: new Fainter(), ...more };
  return new ColdDiffusion(options).initialise(new Streams(0), initialised);
}

/** A context whose image i is of one grey value, 40 i. */
export function coldContext(more: Partial<FigureContext>): FigureContext {
  const count = 6;
  const bytes = Uint8Array.from({ length: count * pixels }, (_, at) => 40 * Math.floor(at / pixels));
  const description = { name: "greys", split: "test", origin: "memory", length: count } as const;
  const source = memorySource({ ...description, shape }, bytes);
  return toyContext(0, {
    async openImages() {
      const read = (indices: readonly number[]) => {
        const some = new Uint8Array(indices.length * pixels);
        source.read(indices, some);
        return { pixels: fromTypedArray(some, [indices.length, ...shape]) };
      };
      return { source, read };
    },
    ...more,
  });
}
