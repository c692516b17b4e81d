/** Figure `losses`: how the loss and its parts went down in training. */
import type { MetricsRecord } from "../experiment/journal.js";
import { type LineSeries, lineChart, panels } from "../plot/index.js";
import { anySystem, type Drawing, defineFigure } from "./figure.js";

/** Numbers of a training record that are no part of the loss. */
const others = new Set(["step", "seconds", "cpuSeconds", "bitsPerDim", "loss", "learningRate"]);

const numbers = (records: readonly MetricsRecord[], key: string): number[] =>
  records.map((record) => Number(record[key] ?? Number.NaN));

/** The loss that was trained on, and what it counts. */
function lossOf(training: readonly MetricsRecord[]): { readonly key: string; readonly unit: string } {
  const unit = training[0]?.lossUnit;
  return typeof unit === "string" ? { key: "loss", unit } : { key: "bitsPerDim", unit: "bits/dim" };
}

/** The bound of other images that were measured on the way. */
function measuredSeries(measured: readonly MetricsRecord[]): LineSeries {
  const y = numbers(measured, "bitsPerDim");
  const error = numbers(measured, "standardError");
  return {
    name: `${measured[0]?.split ?? "other"} images`,
    x: measured.map(({ step }) => step),
    y,
    low: y.map((mean, i) => mean - (error[i] ?? 0)),
    high: y.map((mean, i) => mean + (error[i] ?? 0)),
    mark: "points",
  };
}

/** The loss and its parts against the step, with the bound of other images that was measured meanwhile. */
export function drawLosses(records: readonly MetricsRecord[], name: string): Drawing {
  const training = records.filter(({ event }) => event === "train");
  const measured = records.filter(({ event }) => event === "evaluate");
  const { key, unit } = lossOf(training);
  const terms = Object.entries(training[0] ?? {})
    .filter(([term, value]) => typeof value === "number" && !others.has(term))
    .map(([term]) => term);
  const x = training.map(({ step }) => step);
  const total: LineSeries[] = [{ name: "training images", x, y: numbers(training, key) }];
  const axes = (label: string) => ({ x: { label: "step" }, y: { label, scale: "log" } }) as const;
  const bound = key === "bitsPerDim";
  if (bound && measured.length > 0) total.push(measuredSeries(measured));
  const chart = panels([
    lineChart({
      title: bound ? "Training bound" : "Training loss",
      subtitle: name,
      ...axes(unit),
      series: total,
    }),
    lineChart({
      title: "Its parts",
      subtitle: "each point the mean since the one before",
      ...axes(bound ? unit : terms.length === 1 ? String(terms[0]) : "loss"),
      series: terms.map((term) => ({ name: term, x, y: numbers(training, term) })),
    }),
    ...(!bound && measured.length > 0
      ? [
          lineChart({
            title: "The bound",
            subtitle: "measured on the way",
            ...axes("bits/dim"),
            series: [measuredSeries(measured)],
          }),
        ]
      : []),
  ]);
  const rows = [...training, ...measured].map((record) => ({
    event: record.event,
    step: record.step,
    ...Object.fromEntries(
      ["seconds", "bitsPerDim", "loss", ...terms, "learningRate", "standardError"]
        .filter((each) => typeof record[each] === "number")
        .map((each) => [each, Number(record[each])]),
    ),
  }));
  return { kind: "chart", chart, rows, settings: { readings: training.length, lossUnit: unit } };
}

export const losses = defineFigure({
  name: "losses",
  summary: "the training bound, or another loss, and its parts against the step",
  needs: "records",
  of: anySystem,
  draw: async ({ records, name }) => drawLosses(records, name),
});
