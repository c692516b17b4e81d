/** Figure `losses`: how the bound and its parts went down in training. */
import type { MetricsRecord } from "../experiment/journal.js";
import { type LineSeries, lineChart, panels } from "../plot/index.js";
import { anySystem, type Drawing, defineFigure } from "./figure.js";

/** Numbers of a training record that are no part of the bound. */
const others = new Set(["step", "seconds", "cpuSeconds", "bitsPerDim", "learningRate"]);

const numbers = (records: readonly MetricsRecord[], key: string): number[] =>
  records.map((record) => Number(record[key] ?? Number.NaN));

/** The bound that was trained on and its parts against the step, with what was measured on other images meanwhile. */
export function drawLosses(records: readonly MetricsRecord[], name: string): Drawing {
  const training = records.filter(({ event }) => event === "train");
  const measured = records.filter(({ event }) => event === "evaluate");
  const terms = Object.entries(training[0] ?? {})
    .filter(([key, value]) => typeof value === "number" && !others.has(key))
    .map(([key]) => key);
  const x = training.map(({ step }) => step);
  const total: LineSeries[] = [{ name: "training images", x, y: numbers(training, "bitsPerDim") }];
  if (measured.length > 0) {
    const y = numbers(measured, "bitsPerDim");
    const error = numbers(measured, "standardError");
    total.push({
      name: `${measured[0]?.split ?? "other"} images`,
      x: measured.map(({ step }) => step),
      y,
      low: y.map((mean, i) => mean - (error[i] ?? 0)),
      high: y.map((mean, i) => mean + (error[i] ?? 0)),
      mark: "points",
    });
  }
  const axes = { x: { label: "step" }, y: { label: "bits/dim", scale: "log" } } as const;
  const chart = panels([
    lineChart({ title: "Training bound", subtitle: name, ...axes, series: total }),
    lineChart({
      title: "Its parts",
      subtitle: "each point the mean since the one before",
      ...axes,
      series: terms.map((term) => ({ name: term, x, y: numbers(training, term) })),
    }),
  ]);
  const rows = [...training, ...measured].map((record) => ({
    event: record.event,
    step: record.step,
    ...Object.fromEntries(
      ["seconds", "bitsPerDim", ...terms, "learningRate", "standardError"]
        .filter((key) => typeof record[key] === "number")
        .map((key) => [key, Number(record[key])]),
    ),
  }));
  return { kind: "chart", chart, rows, settings: { readings: training.length } };
}

export const losses = defineFigure({
  name: "losses",
  summary: "the training bound and its parts against the step",
  needs: "records",
  of: anySystem,
  draw: async ({ records, name }) => drawLosses(records, name),
});
