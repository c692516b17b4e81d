/** What `evaluate` can measure, by name. A new metric is a file and a line here. */
import { UserError } from "../errors.js";
import { didYouMean } from "../nearest.js";
import { bitsMeasurement } from "./measure-bits.js";
import { flowMeasurement } from "./measure-flow.js";
import type { Metric } from "./metric.js";

const metrics: Readonly<Record<string, Metric>> = { bpd: bitsMeasurement, nll: flowMeasurement };

export const metricNames: readonly string[] = Object.keys(metrics);

/** @throws UserError with the nearest name. */
export function metricNamed(name: string): Metric {
  const metric = Object.hasOwn(metrics, name) ? metrics[name] : undefined;
  if (!metric) throw new UserError(`expected a metric, got "${name}"${didYouMean(name, metricNames)}`);
  return metric;
}
