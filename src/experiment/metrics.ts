/** What `evaluate` can measure, by name. A new metric is a file and a line here. */
import { UserError } from "../errors.js";
import { didYouMean } from "../nearest.js";
import { measureBits } from "./measure-bits.js";
import type { Metric } from "./metric.js";

const metrics: Readonly<Record<string, Metric>> = { bpd: measureBits };

export const metricNames: readonly string[] = Object.keys(metrics);

/** @throws UserError with the nearest name. */
export function metricNamed(name: string): Metric {
  const metric = metrics[name];
  if (!metric) throw new UserError(`expected a metric, got "${name}"${didYouMean(name, metricNames)}`);
  return metric;
}
