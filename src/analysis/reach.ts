/** When a training reaches a bound: the readings of its records, smoothed, and the first one that is low enough. */
import type { MetricsRecord } from "../experiment/journal.js";

/** One reading of a training. */
export interface Reading {
  readonly step: number;
  /** Since the training began. */
  readonly minutes: number;
  readonly bitsPerDim: number;
  readonly standardError?: number;
}

/** By which clock: the one on the wall, or the processor's, which other programs on the machine do not hurry. */
export type Clock = "seconds" | "cpuSeconds";

/** The readings of a kind: of the training bound, each the mean since the one before, or measured on other images. */
export function readingsOf(
  records: readonly MetricsRecord[],
  event: "train" | "evaluate",
  clock: Clock = "seconds",
): readonly Reading[] {
  return records
    .filter((record) => record.event === event && typeof record.bitsPerDim === "number")
    .map((record) => ({
      step: record.step,
      minutes: Number(record[clock] ?? Number.NaN) / 60,
      bitsPerDim: Number(record.bitsPerDim),
      ...(typeof record.standardError === "number" ? { standardError: record.standardError } : {}),
    }));
}

/** Each bound replaced by the mean of the readings of the last `window` steps up to it; steps and minutes stay. */
export function smoothed(readings: readonly Reading[], window: number): readonly Reading[] {
  return readings.map(({ step, minutes }, i) => {
    const last = readings.slice(0, i + 1).filter((each) => each.step > step - window);
    const bitsPerDim = last.reduce((sum, each) => sum + each.bitsPerDim / last.length, 0);
    return { step, minutes, bitsPerDim };
  });
}

/** The first reading at or below `target`; undefined where it is never reached. */
export function firstReach(readings: readonly Reading[], target: number): Reading | undefined {
  return readings.find(({ bitsPerDim }) => bitsPerDim <= target);
}
