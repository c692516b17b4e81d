/** The times at which a batch is noised. */
import { arange, type Generator, rand, type Tensor } from "../torch/index.js";

export const timeSamplings = ["low-discrepancy", "uniform"] as const;
export type TimeSampling = (typeof timeSamplings)[number];

/** `t_i = (u0 + i / B) mod 1`, each uniform by itself, together evenly spread (VDM, appendix I.1). `u0`: scalar in [0, 1). */
export function lowDiscrepancyTimes(u0: Tensor, count: number): Tensor {
  return arange(0, count, 1, { dtype: u0.dtype, device: u0.device }).div(count).add(u0).remainder(1);
}

/** `count` times in [0, 1), float64 so that no two of a large batch collide. */
export function sampleTimes(
  sampling: TimeSampling,
  count: number,
  generator: Generator,
  device: string,
): Tensor {
  const options = { dtype: "float64", device } as const;
  return sampling === "uniform"
    ? rand([count], generator, options)
    : lowDiscrepancyTimes(rand([], generator, options), count);
}

/** The step of a chain of T that a time falls in: `i = min(floor(t T) + 1, T)`, t = i/T, s = (i - 1)/T. */
export function discretiseTimes(
  t: Tensor,
  steps: number,
): { readonly i: Tensor; readonly t: Tensor; readonly s: Tensor } {
  const i = t.mul(steps).floor().add(1).clamp(undefined, steps);
  return { i, t: i.div(steps), s: i.sub(1).div(steps) };
}
