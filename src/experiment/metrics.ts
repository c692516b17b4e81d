/** What `evaluate` can measure, by name. A new metric is a file and a line here. */
import { type ImageModel, isDiffusion } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { didYouMean } from "../nearest.js";
import { accuracyMeasurement } from "./measure-accuracy.js";
import { bitsMeasurement } from "./measure-bits.js";
import { flowMeasurement } from "./measure-flow.js";
import { qualityMeasurement } from "./measure-quality.js";
import { reconstructionMeasurement } from "./measure-reconstruction.js";
import { restorationMeasurement } from "./measure-restoration.js";
import type { Measurement, MeasureRequest, Metric } from "./metric.js";
import { isQualityPart, qualityParts } from "./quality-settings.js";
import { asDiffusion, type Trained } from "./trained.js";

/** A metric of diffusion models alone. */
function ofDiffusion(plan: (trained: Trained, request: MeasureRequest) => Promise<Measurement>): Metric {
  return (trained, request) => plan(asDiffusion(trained), request);
}

const metrics: Readonly<Record<string, Metric>> = {
  bpd: ofDiffusion(bitsMeasurement),
  nll: ofDiffusion(flowMeasurement),
  accuracy: accuracyMeasurement,
  quality: ofDiffusion(qualityMeasurement),
  reconstruction: ofDiffusion(reconstructionMeasurement),
  restoration: ofDiffusion(restorationMeasurement),
};

export const metricNames: readonly string[] = [...Object.keys(metrics), ...qualityParts];

/** What is measured of a run where nothing else is asked for. */
export function defaultMetric(system: ImageModel): string {
  return isDiffusion(system) ? "bpd" : "accuracy";
}

/**
 * What is measured for the metrics asked for, each name once. Parts of `quality` asked for together are one measurement
 * of the same samples.
 * @throws UserError with the nearest name
 */
export function metricsNamed(names: readonly string[]): ReadonlyMap<string, Metric> {
  const parts = names.includes("quality")
    ? qualityParts
    : qualityParts.filter((part) => names.includes(part));
  const found = new Map<string, Metric>();
  for (const name of names) {
    if (name === "quality" || isQualityPart(name))
      found.set(
        "quality",
        ofDiffusion((trained, request) => qualityMeasurement(trained, request, parts)),
      );
    else found.set(name, metricNamed(name));
  }
  return found;
}

/** @throws UserError with the nearest name. */
export function metricNamed(name: string): Metric {
  if (isQualityPart(name))
    return ofDiffusion((trained, request) => qualityMeasurement(trained, request, [name]));
  const metric = Object.hasOwn(metrics, name) ? metrics[name] : undefined;
  if (!metric) throw new UserError(`expected a metric, got "${name}"${didYouMean(name, metricNames)}`);
  return metric;
}
