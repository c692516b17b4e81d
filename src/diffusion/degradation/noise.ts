/** The Gaussian chain as a degradation, for the baselines beside cold diffusion. */
import { fromTypedArray, type Tensor } from "../../torch/index.js";
import { cosineBetas } from "../chain/betas.js";
import { perImage } from "../level.js";
import type { Degradation, EndState } from "./degradation.js";
import { LevelTables } from "./level-tables.js";

/** The largest beta: the last step of every schedule leaves something to divide by. */
const LARGEST = 0.999;

/** `g(u) / g(0)` falls along the logistic function from -3 to 3. */
function sigmoidBetas(steps: number): number[] {
  const logistic = (v: number) => 1 / (1 + Math.exp(-v));
  const g = (u: number) => logistic(3) - logistic(6 * u - 3);
  return Array.from({ length: steps }, (_, i) => 1 - g((i + 1) / steps) / g(i / steps));
}

/** Evenly spaced from 1e-4 to 0.02 in a thousand steps, stretched to the same total in others. */
function linearBetas(steps: number): number[] {
  const [first, last] = [0.1 / steps, 20 / steps];
  return Array.from({ length: steps }, (_, i) => first + (i * (last - first)) / Math.max(steps - 1, 1));
}

const schedules = {
  cosine: cosineBetas,
  linear: linearBetas,
  sigmoid: sigmoidBetas,
} as const satisfies Record<string, (steps: number) => number[]>;

export type NoiseScheduleName = keyof typeof schedules;
export const noiseScheduleNames = Object.keys(schedules) as [NoiseScheduleName, ...NoiseScheduleName[]];

/** beta of steps 0 .. T - 1, at most 0.999; a chain of two and more takes them as they are (`new GaussianChain(betas)`). */
export function noiseBetas(schedule: NoiseScheduleName, levels: number): number[] {
  return schedules[schedule](levels).map((beta) => Math.min(beta, LARGEST));
}

export interface AddedNoiseOptions {
  /** T */
  readonly levels: number;
  /** `cosine` unless given. */
  readonly schedule?: NoiseScheduleName;
}

/** `x_k = sqrt(abar_k) x_0 + sqrt(1 - abar_k) noise`, `abar_k = prod_{i < k} (1 - beta_i)` (Ho et al., 2020). */
export class AddedNoise implements Degradation {
  readonly levels: number;
  readonly end: EndState = "noise";
  /** Of the steps from level k to k + 1, k = 0 .. T - 1. */
  readonly betas: readonly number[];
  /** abar of levels 0 .. T. */
  readonly alphasCumprod: Float64Array;
  readonly #tables = new LevelTables();

  constructor({ levels, schedule = "cosine" }: AddedNoiseOptions) {
    this.levels = levels;
    this.betas = noiseBetas(schedule, levels);
    this.alphasCumprod = new Float64Array(levels + 1).fill(1);
    for (const [k, beta] of this.betas.entries())
      this.alphasCumprod[k + 1] = (this.alphasCumprod[k] as number) * (1 - beta);
  }

  degrade(x: Tensor, level: Tensor): Tensor {
    return this.#each("signal", level, x, (abar) => Math.sqrt(abar)).mul(x);
  }

  noiseDeviation(level: Tensor, like: Tensor): Tensor {
    return this.#each("noise", level, like, (abar) => Math.sqrt(1 - abar));
  }

  #each(name: string, level: Tensor, like: Tensor, value: (abar: number) => number): Tensor {
    const make = () => fromTypedArray(this.alphasCumprod.map(value), [this.levels + 1]);
    return perImage(this.#tables.rows(name, level, like, make));
  }
}
