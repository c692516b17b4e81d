/** How far predicted images are from what they should be. */
import type { Tensor } from "../../torch/index.js";
import type { Degradation } from "../degradation/degradation.js";
import { Fading } from "../degradation/fading.js";

export const levelLosses = ["l1", "l2"] as const;
export const lossReductions = ["sum", "mean"] as const;

export interface LevelLoss {
  /** Absolute or squared differences. */
  readonly distance: (typeof levelLosses)[number];
  /** Over the pixels and channels of an image. */
  readonly reduction: (typeof lossReductions)[number];
}

/** Of each image, `[B]`, float32 at least. */
export function levelLoss(predicted: Tensor, target: Tensor, { distance, reduction }: LevelLoss): Tensor {
  const difference = target.sub(predicted).flatten(1);
  const each = distance === "l1" ? difference.abs() : difference.square();
  return reduction === "sum" ? each.sum([1]) : each.mean([1]);
}

/**
 * The mean brightness over a batch that a degradation by fading leaves at `levels` `[B]`, a scalar: what losses may be divided
 * by. 1 where nothing fades.
 */
export function meanBrightness(degradation: Degradation, levels: readonly number[]): number {
  if (!(degradation instanceof Fading)) return 1;
  const { coefficients } = degradation;
  return levels.reduce((sum, level) => sum + (coefficients[level] as number), 0) / levels.length;
}
