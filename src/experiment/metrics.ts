/** What `evaluate` can measure, by name. A new metric is a file and a line here. */
import { UserError } from "../errors.js";
import { didYouMean } from "../nearest.js";
import { type MeasureRequest, measureBits } from "./measure-bits.js";
import type { Trained } from "./trained.js";

/** Measures a trained system; the result is a JSON document with its own provenance. */
export type Metric = (trained: Trained, request: MeasureRequest) => Promise<MetricResult>;

export interface MetricResult {
  /** For people, a few lines. */
  readonly summary: string;
  readonly document: Readonly<Record<string, unknown>>;
}

const metrics: Readonly<Record<string, Metric>> = { bpd: measureBits };

export const metricNames: readonly string[] = Object.keys(metrics);

/** @throws UserError with the nearest name. */
export function metricNamed(name: string): Metric {
  const metric = metrics[name];
  if (!metric) throw new UserError(`expected a metric, got "${name}"${didYouMean(name, metricNames)}`);
  return metric;
}
