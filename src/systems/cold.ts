/**
 * Cold diffusion (Bansal et al., 2022), inverse heat dissipation (Rissanen et al., 2023) and their baselines: one network
 * leads degraded images back, told what to predict.
 */
import { type LevelLoss, levelLoss, meanBrightness } from "../diffusion/cold/level-loss.js";
import type { LevelNetwork, LevelTimes } from "../diffusion/cold/level-network.js";
import type { Batch, Objective, StepContext } from "../diffusion/system.js";
import type { Tensor } from "../torch/index.js";
import {
  type ColdPass,
  ColdWalk,
  type ColdWalkOptions,
  type DrawnLevels,
  type LevelDraw,
} from "./cold-walk.js";

/** How cold diffusion is trained, and by what. */
export interface ColdOptions extends ColdWalkOptions {
  readonly network: LevelNetwork;
  readonly loss: LevelLoss;
  /** Whether losses are divided by the brightness that fading leaves of the targets, in the mean over a batch. */
  readonly lossWeighting: "none" | "brightness";
  /** Standard deviation of noise on the network's input in training, which it is to overlook. */
  readonly overlookedNoise: number;
  /** The highest level that is trained: T, or one less as the code of Rissanen et al. has it. */
  readonly highestLevel?: number;
}

/**
 * `x_k = D(x_0, k)`, `[B, C, H, W]`, level k of 0 .. T; with `inputNoise` a draw from `N(D(x_0, k), inputNoise^2 I)`. The network maps x_k and
 * k `[B]` to x_0, to what is between x_k and a lower level, or to the noise, `[B, C, H, W]`. The loss of an image, `[B]`, is the absolute or
 * squared difference from it, summed or averaged over pixels (`LevelLoss`), at a level drawn evenly from 1 to `highestLevel`.
 */
export class ColdDiffusion extends ColdWalk {
  readonly network: LevelNetwork;
  readonly lossUnit: string;
  readonly #options: ColdOptions;

  constructor(options: ColdOptions) {
    super(options);
    this.network = options.network;
    this.#options = options;
    this.lossUnit = unitOf(options.loss);
  }

  protected outputAt(x: Tensor, times: LevelTimes, { pass }: ColdPass): Tensor {
    return this.network.forward(x, times, pass);
  }

  objective(batch: Batch, { streams, pass }: StepContext): Objective {
    const x0 = this.encode(batch.pixels);
    const levels = this.drawLevels(x0.dim(0), streams.generator("times"), this.#options.highestLevel);
    const noise = this.noise(x0, streams, "noise");
    const overlooked = this.noise(x0, streams, "overlooked");
    return this.objectiveAt({ x0, ...levels, noise, overlooked }, { pass });
  }

  /** The loss at given draws. */
  objectiveAt(draw: LevelDraw & Pick<DrawnLevels, "toLevels">, how: ColdPass): Objective {
    const { x0, from, to, toLevels } = draw;
    const { loss, lossWeighting, overlookedNoise } = this.#options;
    const x = this.stateAt(x0, from, draw.noise);
    const seen = overlookedNoise > 0 ? x.add(draw.overlooked.mul(overlookedNoise)) : x;
    const out = this.outputAt(seen, this.told({ from, to }), how);
    const own = levelLoss(this.predictedFrom(x, out), this.targetOf(draw), loss);
    const weighted = lossWeighting === "brightness";
    const perExample = weighted ? own.div(meanBrightness(this.degradation, toLevels)) : own;
    return { loss: perExample.mean(), perExample, t: from.to("float64").div(this.levels), terms: {} };
  }
}

export function unitOf({ distance, reduction }: LevelLoss): string {
  const what = distance === "l1" ? "absolute error" : "squared error";
  return reduction === "sum" ? `${what} per image` : `mean ${what}`;
}
