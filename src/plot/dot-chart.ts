/** Dots in rows: a few numbers for each method, as those of several seeds, with their mean and its error. */
import * as Plot from "@observablehq/plot";
import { type Axis, axisOptions } from "./axis.js";
import { type Chart, type ChartOptions, frame, INK, seriesStyle } from "./chart.js";

/** One row. Numbers that are not finite are left out. */
export interface DotRow {
  readonly name: string;
  readonly values: readonly number[];
  readonly mean: number;
  /** Half the length of the bar about the mean; none where it is not finite. */
  readonly error: number;
}

export interface DotChartOptions extends ChartOptions {
  readonly x: Axis;
  readonly rows: readonly DotRow[];
}

/** Draws a row for each name, from top to bottom: a dot for every value, and below them the mean with its error bar. */
export function dotChart(options: DotChartOptions): Chart {
  const { x, rows } = options;
  const dots = rows.flatMap(({ values }, row) =>
    values
      .filter(Number.isFinite)
      .map((value) => ({ value, place: row - 0.14, colour: seriesStyle(row).colour })),
  );
  const means = rows.flatMap(({ mean, error }, row) => {
    const reach = Number.isFinite(error) ? error : 0;
    const place = row + 0.14;
    const bar = { mean, low: mean - reach, high: mean + reach, place, top: place - 0.1, bottom: place + 0.1 };
    return Number.isFinite(mean) ? [bar] : [];
  });
  const spanned = [...dots.map(({ value }) => value), ...means.flatMap(({ low, high }) => [low, high])];
  return frame(options, {
    xLabel: x.label,
    yLabel: "",
    legend: [],
    plot: (ticks) => ({
      marks: [
        Plot.dot(dots, { x: "value", y: "place", r: 3.5, fill: "colour", fillOpacity: 0.75 }),
        Plot.ruleY(means, { x1: "low", x2: "high", y: "place", stroke: INK, strokeWidth: 1.25 }),
        Plot.ruleX(means, { x: "mean", y1: "top", y2: "bottom", stroke: INK, strokeWidth: 2 }),
      ],
      x: { ...axisOptions(x, spanned, { count: ticks.x, ends: "rounded" }), grid: true },
      y: {
        type: "linear",
        domain: [rows.length - 0.5, -0.5],
        ticks: rows.map((_, row) => row),
        tickFormat: (row: number) => rows[row]?.name ?? "",
        grid: false,
      },
    }),
  });
}
