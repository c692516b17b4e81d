/** The metric `bpd`: the variational bound of a run on a split. */
import { type BoundedLikelihood, hasBound } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { type BoundValue, boundWork, type Estimate } from "./evaluation.js";
import { imagesAtOnce } from "./images-at-once.js";
import { type Measurement, type MeasureRequest, type MetricResult, measureNow } from "./metric.js";
import { ensureStart } from "./start-file.js";
import { subjectOf } from "./subject.js";
import type { Trained } from "./trained.js";
import type { WorkOptions } from "./work.js";

/** `3.2145 +- 0.0123` */
export function showEstimate({ mean, standardError }: Estimate): string {
  return `${mean.toFixed(4)} +- ${standardError.toFixed(4)}`;
}

/** What the error is over, where there are two kinds of it. */
function showErrors({ standardErrorOverImages, standardErrorOverPasses }: BoundValue): string {
  if (standardErrorOverPasses === null) return "";
  return `  (over images ${standardErrorOverImages.toFixed(4)}, over passes ${standardErrorOverPasses.toFixed(4)})`;
}

/** `continuous time`, `T = 1000` */
export function showTime(steps: number): string {
  return steps === 0 ? "continuous time" : `T = ${steps}`;
}

/** @throws UserError for a system without a bound. */
export async function bitsMeasurement(trained: Trained, request: MeasureRequest): Promise<Measurement> {
  const { system, config } = trained;
  if (!hasBound(system)) {
    const { noBound } = system as Partial<BoundedLikelihood>;
    throw new UserError(
      `expected a system with a likelihood bound, got ${config.system}${noBound === undefined ? "" : `: ${noBound}`}`,
    );
  }
  await ensureStart(trained, { log: request.log });
  const subject = await subjectOf(trained, request, {
    metric: "bpd",
    dequantisation: system.dequantisation ?? "none",
    precision: () => system.boundPrecision,
  });
  const { name, facts, machine, passes, steps, words } = subject;
  // The maps of a bound may be float32 in any precision.
  const atOnce = imagesAtOnce({ ...trained, machine: { ...trained.machine, precision: "float32" } });
  const work = boundWork({ ...subject, system, atOnce });
  return {
    ...{ name, facts, machine },
    pieces: work.pieces,
    measure: work.measure,
    summarise(measured) {
      const values = work.summarise(measured);
      const total = values.bitsPerDim;
      const rows = Object.entries({ total, ...values.terms }).map(
        ([term, value]) => `  ${term.padEnd(16)}${showEstimate(value)}${showErrors(value)}`,
      );
      const summary = [
        `${showEstimate(total)} bits/dim (variational bound, ${showTime(steps)}; mean +- standard error)`,
        ...(passes > 1 ? rows : rows.slice(1)),
        `  ${words}, ${passes} ${passes === 1 ? "pass" : "passes"}`,
      ].join("\n");
      return { summary, values: { ...values } };
    },
  };
}

/** Measures the bound here and now. @throws UserError for a system without one. */
export async function measureBits(
  trained: Trained,
  request: MeasureRequest & WorkOptions,
): Promise<MetricResult> {
  return measureNow(await bitsMeasurement(trained, request), request);
}
