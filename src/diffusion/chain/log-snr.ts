/** How much of an image is left at each step of a chain (DAED, eq. 10 and figure 1). */
import type { Tensor } from "../../torch/index.js";
import type { ChainTables } from "./tables.js";

/** `ln abar_t - ln(1 - abar_t)` of each step: the log-SNR of an image whose pixels have a mean square of 1. */
export function logSnrOfSteps({ alphasCumprod }: Pick<ChainTables, "alphasCumprod">): Float64Array {
  return alphasCumprod.map((abar) => Math.log(abar) - Math.log1p(-abar));
}

/** `logSNR(t) - logSNR(t - 1)`, t = 1 .. T - 1: the same for every image. */
export function logSnrChanges(tables: Pick<ChainTables, "alphasCumprod">): Float64Array {
  const values = logSnrOfSteps(tables);
  return values.subarray(1).map((value, i) => value - (values[i] as number));
}

/** `ln m` of each image `[B]`, m the mean square of its pixels on [-1, 1]; -inf where all are 0. */
export function logPower(x0: Tensor): Tensor {
  return x0.to("float64").square().flatten(1).mean([1]).log();
}

/** `logSNR(x_0, t) = ln abar_t - ln(1 - abar_t) + ln m` over images: its mean and population deviation at each step. */
export function logSnr(
  tables: Pick<ChainTables, "alphasCumprod">,
  powers: readonly number[],
): { readonly mean: Float64Array; readonly deviation: number } {
  const mean = powers.reduce((sum, power) => sum + power, 0) / powers.length;
  const variance = powers.reduce((sum, power) => sum + (power - mean) ** 2, 0) / powers.length;
  return { mean: logSnrOfSteps(tables).map((value) => value + mean), deviation: Math.sqrt(variance) };
}
