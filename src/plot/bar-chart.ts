/** Bars over names: a number for each method, data set or term. */
import * as Plot from "@observablehq/plot";
import { type Axis, axisOptions } from "./axis.js";
import { type Chart, type ChartOptions, frame, INK, seriesStyle } from "./chart.js";

/** The part of a category's width that its bars take together. */
const FILLED = 0.76;

/** One bar in every category; `low` and `high` give error bars. A number that is not finite leaves its bar out. */
export interface BarSeries {
  readonly name: string;
  readonly y: ArrayLike<number>;
  readonly low?: ArrayLike<number>;
  readonly high?: ArrayLike<number>;
}

export interface BarChartOptions extends ChartOptions {
  readonly x: { readonly label: string };
  /** Bars start at zero, so this axis is linear. */
  readonly y: Omit<Axis, "scale">;
  readonly categories: readonly string[];
  readonly series: readonly BarSeries[];
}

/**
 * Draws bars in groups, one group a category, one bar a series.
 *
 * @throws Error when a series has not one number for each category.
 */
export function barChart(options: BarChartOptions): Chart {
  const { categories, series } = options;
  const bars = series.flatMap(({ name, y, low, high }, index) => {
    for (const values of [y, low, high]) {
      if (values !== undefined && values.length !== categories.length) {
        throw new Error(
          `series ${JSON.stringify(name)}: ${values.length} values for ${categories.length} categories`,
        );
      }
    }
    const { colour } = seriesStyle(index);
    return Array.from(y, (value, category) => {
      const left = category + (1 - FILLED) / 2 + (index * FILLED) / series.length;
      const right = left + FILLED / series.length;
      const middle = (left + right) / 2;
      return {
        left,
        right,
        middle,
        colour,
        y: value,
        low: low?.[category] ?? value,
        high: high?.[category] ?? value,
      };
    });
  });
  const drawn = bars.filter(({ y }) => Number.isFinite(y));
  const spread = drawn.filter(({ low, high }) => Number.isFinite(low) && Number.isFinite(high) && low < high);
  const heights = [0, ...drawn.flatMap(({ low, y, high }) => [low, y, high])];
  return frame(options, {
    xLabel: options.x.label,
    yLabel: options.y.label,
    legend: series.map(({ name }, index) => ({ name, colour: seriesStyle(index).colour, key: "■" })),
    plot: (ticks) => ({
      marks: [
        Plot.rectY(drawn, {
          x1: "left",
          x2: "right",
          y1: 0,
          y2: "y",
          fill: "colour",
          insetLeft: 0.5,
          insetRight: 0.5,
        }),
        Plot.ruleX(spread, { x: "middle", y1: "low", y2: "high", stroke: INK, strokeWidth: 1.25 }),
        Plot.ruleY([0], { stroke: INK }),
      ],
      x: {
        type: "linear",
        domain: [0, categories.length],
        ticks: categories.map((_, category) => category + 0.5),
        tickFormat: (position: number) => categories[Math.floor(position)] ?? "",
      },
      y: axisOptions(options.y, heights, { count: ticks.y, ends: "rounded" }),
    }),
  });
}
