/** Curves and points over a number: losses, schedules, bounds against steps. */
import * as Plot from "@observablehq/plot";
import { type Axis, axisOptions, hasPlace } from "./axis.js";
import { type Chart, type ChartOptions, frame, type LegendEntry, seriesStyle } from "./chart.js";

/** One curve; `low` and `high` give a band around a line, and error bars at mere points. */
export interface LineSeries {
  readonly name: string;
  readonly x: ArrayLike<number>;
  readonly y: ArrayLike<number>;
  readonly low?: ArrayLike<number>;
  readonly high?: ArrayLike<number>;
  /** Default: "line". */
  readonly mark?: "line" | "points" | "line-and-points";
}

export interface LineChartOptions extends ChartOptions {
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly LineSeries[];
}

interface Point {
  readonly x: number;
  readonly y: number;
  readonly low: number;
  readonly high: number;
}

/** The points that can be drawn; a missing or infinite end of a band falls onto the curve. */
function pointsOf(series: LineSeries, x: Axis, y: Axis): Point[] {
  const { name, low, high } = series;
  for (const [what, values] of Object.entries({ y: series.y, low, high })) {
    if (values !== undefined && values.length !== series.x.length) {
      throw new Error(
        `series ${JSON.stringify(name)}: ${series.x.length} values of x, ${values.length} of ${what}`,
      );
    }
  }
  const bound = (value: number | undefined, centre: number): number =>
    value !== undefined && hasPlace(value, y) ? value : centre;
  return Array.from(series.x, (value, index) => {
    const centre = series.y[index] ?? Number.NaN;
    return { x: value, y: centre, low: bound(low?.[index], centre), high: bound(high?.[index], centre) };
  }).filter((point) => hasPlace(point.x, x) && hasPlace(point.y, y));
}

function marksOf(series: LineSeries, points: readonly Point[], index: number): Plot.Markish[] {
  const { colour, line } = seriesStyle(index);
  const { mark = "line" } = series;
  const marks: Plot.Markish[] = [];
  if (series.low !== undefined || series.high !== undefined) {
    const spread = { x: "x", y1: "low", y2: "high" };
    marks.push(
      mark === "points"
        ? Plot.ruleX(points, { ...spread, stroke: colour, strokeWidth: 1.25 })
        : Plot.areaY(points, { ...spread, fill: colour, fillOpacity: 0.14 }),
    );
  }
  if (mark !== "points") {
    const dashes = line === "dashed" ? { strokeDasharray: "5 3" } : {};
    marks.push(Plot.line(points, { x: "x", y: "y", stroke: colour, strokeWidth: 1.75, ...dashes }));
  }
  if (mark !== "line") {
    marks.push(
      Plot.dot(points, { x: "x", y: "y", r: 2.75, fill: colour, stroke: "white", strokeWidth: 0.75 }),
    );
  }
  return marks;
}

function legendOf({ name, mark }: LineSeries, index: number): LegendEntry {
  const { colour, line } = seriesStyle(index);
  return { name, colour, key: mark === "points" ? "●" : line === "solid" ? "━━" : "╍╍" };
}

/**
 * Draws curves. Points whose x or y is NaN or infinite, or not positive on a logarithmic axis, are left out.
 *
 * @throws Error when the arrays of a series differ in length.
 */
export function lineChart(options: LineChartOptions): Chart {
  const { x, y, series } = options;
  const points = series.map((one) => pointsOf(one, x, y));
  const all = points.flat();
  const nothing = all.length === 0 ? [Plot.text(["no values to draw"], { frameAnchor: "middle" })] : [];
  return frame(options, {
    xLabel: x.label,
    yLabel: y.label,
    legend: series.map(legendOf),
    plot: (ticks) => ({
      marks: [...series.flatMap((one, index) => marksOf(one, points[index] ?? [], index)), ...nothing],
      x: axisOptions(
        x,
        all.map((point) => point.x),
        { count: ticks.x, ends: "exact" },
      ),
      y: axisOptions(
        y,
        all.flatMap(({ low, y: centre, high }) => [low, centre, high]),
        { count: ticks.y, ends: "rounded" },
      ),
    }),
  });
}
