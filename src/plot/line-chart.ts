/** Curves and points over a number: losses, schedules, bounds against steps; bundles of curves; paths in a field. */
import * as Plot from "@observablehq/plot";
import { type Axis, axisOptions, hasPlace } from "./axis.js";
import {
  type Chart,
  type ChartOptions,
  frame,
  INK,
  type LegendEntry,
  labelMark,
  type PointLabel,
  seriesStyle,
} from "./chart.js";
import { colourOf, colourRange, css } from "./colour-map.js";

/** One curve; `low` and `high` give a band around a line, and error bars at mere points. */
export interface LineSeries {
  readonly name: string;
  readonly x: ArrayLike<number>;
  readonly y: ArrayLike<number>;
  readonly low?: ArrayLike<number>;
  readonly high?: ArrayLike<number>;
  /** The ends of error bars along x. */
  readonly xLow?: ArrayLike<number>;
  readonly xHigh?: ArrayLike<number>;
  /** One text a point, written beside it; empty for none. */
  readonly labels?: ArrayLike<string>;
  /** Default: "line". */
  readonly mark?: "line" | "points" | "line-and-points";
}

/** Many curves over the same x, too many to name: one for each pixel. */
export interface CurveBundle {
  /** What the curves are of, in the plural: "pixels". */
  readonly name: string;
  readonly x: ArrayLike<number>;
  /** Each as long as `x`. */
  readonly curves: readonly ArrayLike<number>[];
  /** One number for each curve, shown as its colour; without it all have the same. */
  readonly colourBy?: { readonly label: string; readonly values: ArrayLike<number> };
}

/** Vectors on a grid, drawn as arrows whose length saturates: |v| / (|v| + median |v|) of what there is room for. */
export interface ArrowField {
  /** The grid, evenly spaced; both axes linear. */
  readonly x: readonly number[];
  readonly y: readonly number[];
  at(x: number, y: number): readonly [number, number];
}

export interface LineChartOptions extends ChartOptions {
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly LineSeries[];
  readonly bundle?: CurveBundle;
  readonly field?: ArrowField;
}

interface Point extends PointLabel {
  readonly low: number;
  readonly high: number;
  readonly xLow: number;
  readonly xHigh: number;
}

/** Corners of a bundle in the SVG: some 15 bytes each, so that it stays below 2 MB. */
const MOST_CORNERS = 110_000;
/** Colours that the curves of a bundle are sorted into. */
const SHADES = 24;
/** Of a bundle whose curves all have one colour: none of the colours of series. */
const BUNDLE_COLOUR = "#808080";

/** The points that can be drawn; a missing or infinite end of a band falls onto the curve. */
function pointsOf(series: LineSeries, index: number, x: Axis, y: Axis): Point[] {
  const { name, low, high, xLow, xHigh, labels } = series;
  for (const [what, values] of Object.entries({ y: series.y, low, high, xLow, xHigh, labels })) {
    if (values !== undefined && values.length !== series.x.length) {
      throw new Error(
        `series ${JSON.stringify(name)}: ${series.x.length} values of x, ${values.length} of ${what}`,
      );
    }
  }
  const bound = (value: number | undefined, centre: number, axis: Axis): number =>
    value !== undefined && hasPlace(value, axis) ? value : centre;
  return Array.from(series.x, (value, i) => {
    const centre = series.y[i] ?? Number.NaN;
    return {
      x: value,
      y: centre,
      low: bound(low?.[i], centre, y),
      high: bound(high?.[i], centre, y),
      xLow: bound(xLow?.[i], value, x),
      xHigh: bound(xHigh?.[i], value, x),
      text: labels?.[i] ?? "",
      colour: seriesStyle(index).colour,
    };
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
  if (series.xLow !== undefined || series.xHigh !== undefined)
    marks.push(Plot.ruleY(points, { y: "y", x1: "xLow", x2: "xHigh", stroke: colour, strokeWidth: 1.25 }));
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

/** Places along the error bars of a point, for labels to keep clear of. */
function alongBars({ x, y, low, high, xLow, xHigh, colour }: Point): PointLabel[] {
  const steps = Array.from({ length: 13 }, (_, i) => i / 12);
  return [
    ...(low < high ? steps.map((u) => ({ x, y: low + u * (high - low), text: "", colour })) : []),
    ...(xLow < xHigh ? steps.map((u) => ({ x: xLow + u * (xHigh - xLow), y, text: "", colour })) : []),
  ];
}

/** The curves of a bundle that are drawn: as many as `MOST_CORNERS` allows, evenly spaced. */
function drawnCurves({ x, curves }: CurveBundle): readonly number[] {
  const most = Math.max(1, Math.floor(MOST_CORNERS / Math.max(1, x.length)));
  const count = Math.min(curves.length, most);
  return Array.from({ length: count }, (_, i) => Math.floor((i * curves.length) / count));
}

interface BundleDrawing {
  readonly marks: readonly Plot.Markish[];
  readonly legend: readonly LegendEntry[];
  /** All y that are drawn. */
  readonly heights: readonly number[];
  readonly note?: string;
}

function drawBundle(bundle: CurveBundle, x: Axis, y: Axis): BundleDrawing {
  const { curves, colourBy } = bundle;
  for (const [i, curve] of curves.entries()) {
    if (curve.length !== bundle.x.length)
      throw new Error(`curve ${i} of a bundle: ${bundle.x.length} values of x, ${curve.length} of y`);
  }
  if (colourBy && colourBy.values.length !== curves.length)
    throw new Error(`a bundle: ${curves.length} curves, ${colourBy.values.length} values for their colours`);
  const drawn = drawnCurves(bundle);
  const range = colourRange("sequential", colourBy ? [colourBy.values] : []);
  const shades = new Map<string, { readonly x: number; readonly y: number; readonly curve: number }[]>();
  const heights: number[] = [];
  for (const index of drawn) {
    const value = colourBy?.values[index];
    const shade = ((value ?? 0) - range[0]) / (range[1] - range[0]);
    const rounded = Math.round(shade * (SHADES - 1)) / (SHADES - 1);
    const colour = value === undefined ? BUNDLE_COLOUR : css(colourOf(rounded, "sequential", [0, 1]));
    const corners = shades.get(colour) ?? [];
    shades.set(colour, corners);
    for (let i = 0; i < bundle.x.length; i++) {
      const corner = { x: bundle.x[i] ?? Number.NaN, y: curves[index]?.[i] ?? Number.NaN };
      // A place that is not there leaves a gap.
      const there = hasPlace(corner.x, x) && hasPlace(corner.y, y);
      if (there) heights.push(corner.y);
      corners.push({ x: corner.x, y: there ? corner.y : Number.NaN, curve: index });
    }
  }
  const strokeOpacity = Math.max(colourBy ? 0.35 : 0.15, Math.min(0.8, 60 / drawn.length));
  const marks = Array.from(shades, ([stroke, corners]) =>
    Plot.line(corners, { x: "x", y: "y", z: "curve", stroke, strokeOpacity, strokeWidth: 0.75 }),
  );
  const legend = [0, 0.25, 0.5, 0.75, 1].map((u) => ({
    key: "■",
    colour: css(colourOf(u, "sequential", [0, 1])),
    name: Number((range[0] + u * (range[1] - range[0])).toPrecision(3)).toString(),
  }));
  const [first, ...others] = legend;
  const named =
    colourBy && first
      ? [{ ...first, name: `${colourBy.label} ${first.name}` }, ...others]
      : [{ key: "━━", colour: BUNDLE_COLOUR, name: bundle.name }];
  const count = (n: number) => n.toLocaleString("en-US");
  const thinned = drawn.length < curves.length;
  return {
    marks,
    legend: named,
    heights,
    ...(thinned
      ? { note: `${count(drawn.length)} of ${count(curves.length)} ${bundle.name}, evenly spaced` }
      : {}),
  };
}

function arrowsOf({ x, y, at }: ArrowField): Plot.Markish {
  const vectors = x.flatMap((a) => y.map((b) => ({ a, b, v: at(a, b) })));
  const sizes = vectors.map(({ v }) => Math.hypot(...v));
  const median = sizes.toSorted((a, b) => a - b)[Math.floor(sizes.length / 2)] ?? 0;
  const spacing = (grid: readonly number[]) => Math.abs((grid[1] ?? 1) - (grid[0] ?? 0));
  const room = 0.85 * Math.min(spacing(x), spacing(y));
  const arrows = vectors.flatMap(({ a, b, v }, i) => {
    const size = sizes[i] ?? 0;
    if (!(size > 0 && Number.isFinite(size))) return [];
    const half = room / (size + median) / 2;
    return [{ x1: a - half * v[0], y1: b - half * v[1], x2: a + half * v[0], y2: b + half * v[1] }];
  });
  const options = { x1: "x1", y1: "y1", x2: "x2", y2: "y2", headLength: 6, headAngle: 50 };
  return Plot.arrow(arrows, { ...options, stroke: INK, strokeOpacity: 0.45, strokeWidth: 0.9 });
}

function legendOf({ name, mark }: LineSeries, index: number): LegendEntry {
  const { colour, line } = seriesStyle(index);
  return { name, colour, key: mark === "points" ? "●" : line === "solid" ? "━━" : "╍╍" };
}

/**
 * Draws curves, above a bundle and a field if there are any. Points whose x or y is NaN or infinite, or not positive
 * on a logarithmic axis, are left out. Of a bundle with more than 110,000 corners evenly spaced curves are drawn, and
 * the subtitle says how many.
 *
 * @throws Error when the arrays of a series or a bundle differ in length.
 */
export function lineChart(options: LineChartOptions): Chart {
  const { x, y, series, bundle, field } = options;
  const points = series.map((one, index) => pointsOf(one, index, x, y));
  const all = points.flat();
  const many = bundle ? drawBundle(bundle, x, y) : undefined;
  const empty = all.length === 0 && !many?.heights.length && !field;
  const subtitle = [options.subtitle, many?.note].filter((text) => text !== undefined).join("; ");
  return frame(subtitle === "" ? options : { ...options, subtitle }, {
    xLabel: x.label,
    yLabel: y.label,
    legend: [...(many?.legend ?? []), ...series.map(legendOf)],
    plot: (ticks) => ({
      marks: [
        ...(field ? [arrowsOf(field)] : []),
        ...(many?.marks ?? []),
        ...series.flatMap((one, index) => marksOf(one, points[index] ?? [], index)),
        ...(all.some(({ text }) => text !== "") ? [labelMark([...all, ...all.flatMap(alongBars)])] : []),
        ...(empty ? [Plot.text(["no values to draw"], { frameAnchor: "middle" })] : []),
      ],
      x: axisOptions(
        x,
        [
          ...all.flatMap((point) => [point.xLow, point.x, point.xHigh]),
          ...Array.from(bundle?.x ?? []),
          ...(field?.x ?? []),
        ],
        { count: ticks.x, ends: "exact" },
      ),
      y: axisOptions(
        y,
        (many?.heights ?? []).concat(
          all.flatMap(({ low, y: centre, high }) => [low, centre, high]),
          field?.y ?? [],
        ),
        { count: ticks.y, ends: "rounded" },
      ),
    }),
  });
}
