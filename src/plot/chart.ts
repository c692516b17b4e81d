/** The frame of every chart: title, subtitle, legend, labels, colours; and charts side by side. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { escapeXml, estimatedTextWidth, FONT_FAMILY } from "./font.js";

/** A finished drawing: an SVG document that needs nothing else, and its size in pixels. */
export interface Chart {
  readonly svg: string;
  readonly width: number;
  readonly height: number;
}

/** What every kind of chart has. */
export interface ChartOptions {
  readonly title: string;
  readonly subtitle?: string;
  /** Pixels; default 560. */
  readonly width?: number;
  /** Pixels; default 360. */
  readonly height?: number;
}

export const INK = "#222222";
const MUTED = "#666666";
const FONT = 11;
const TITLE_FONT = 15;
const SUBTITLE_FONT = 11.5;
/** From the edges of a chart to what is drawn. */
const SIDE = 16;

/** Okabe and Ito's palette for all kinds of colour vision; its yellow is too pale for a line. */
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222"] as const;

/** The look of series `index`: seven colours, and then the same ones dashed. */
export function seriesStyle(index: number): { readonly colour: string; readonly line: "solid" | "dashed" } {
  const line = Math.floor(index / PALETTE.length) % 2 === 0 ? "solid" : "dashed";
  return { colour: PALETTE[index % PALETTE.length] ?? INK, line };
}

/** One series in the legend; `key` is drawn in its colour before its name. */
export interface LegendEntry {
  readonly key: string;
  readonly colour: string;
  readonly name: string;
}

/** The part of a chart that is its own: marks and axes, given the numbers of ticks there is room for. */
export interface Body {
  readonly xLabel: string;
  readonly yLabel: string;
  readonly legend: readonly LegendEntry[];
  readonly plot: (ticks: { readonly x: number; readonly y: number }) => {
    readonly marks: readonly Plot.Markish[];
    readonly x: Plot.ScaleOptions;
    readonly y: Plot.ScaleOptions;
  };
}

/** What linkedom makes of a chart, as far as it is needed here. */
interface SvgElement {
  readonly outerHTML: string;
  querySelector(selector: string): { remove(): void } | null;
  querySelectorAll(selector: string): Iterable<{ readonly textContent: string }>;
}

function text(
  x: number,
  y: number,
  content: string,
  attributes: Readonly<Record<string, string | number>>,
): string {
  const written = Object.entries(attributes).map(([name, value]) => ` ${name}="${value}"`);
  return `<text x="${x}" y="${y}"${written.join("")}>${escapeXml(content)}</text>`;
}

/** The width of the widest number at an axis. */
function widestLabel(svg: SvgElement, axis: "x" | "y"): number {
  const labels = [...svg.querySelectorAll(`[aria-label="${axis}-axis tick label"] text`)];
  return Math.max(0, ...labels.map((label) => estimatedTextWidth(label.textContent, FONT)));
}

/** The body and the labels of its axes, `width` by `height`. */
function drawBody(body: Body, width: number, height: number): string {
  const [top, bottom] = [34, 46];
  const { marks, x, y } = body.plot({
    x: Math.max(2, Math.floor(width / 80)),
    y: Math.max(2, Math.floor(height / 55)),
  });
  const draw = (marks: readonly Plot.Markish[], marginLeft: number, marginRight: number): SvgElement => {
    const { document } = parseHTML("<html></html>");
    const options: Plot.PlotOptions = {
      document,
      width,
      height,
      marginLeft,
      marginTop: top,
      marginRight,
      marginBottom: bottom,
      style: { fontFamily: FONT_FAMILY, fontSize: `${FONT}px` },
      x: { label: null, tickSize: 0, tickPadding: 8, ...x },
      y: { label: null, tickSize: 0, tickPadding: 8, grid: true, ...y },
      marks: [...marks],
    };
    return Plot.plot(options) as unknown as SvgElement;
  };
  // Numbers at the axes take the room they need, which is known once they are drawn; the scales need no marks.
  const draft = draw([], 60, SIDE);
  const left = Math.ceil(SIDE + widestLabel(draft, "y") + 8);
  const right = Math.ceil(Math.max(SIDE, widestLabel(draft, "x") / 2 + 4));
  const svg = draw(marks, left, right);
  svg.querySelector("style")?.remove();
  const middle = (left + width - right) / 2;
  return [
    svg.outerHTML,
    text(SIDE, top - 16, body.yLabel, { fill: MUTED }),
    text(middle, height - 10, body.xLabel, { fill: MUTED, "text-anchor": "middle" }),
  ].join("");
}

/** A text that belongs to a point, in the coordinates of the axes; an empty one only keeps others away. */
export interface PointLabel {
  readonly x: number;
  readonly y: number;
  readonly text: string;
  readonly colour: string;
}

/** Where a label may stand about its point: sideways and down, in halves of its size; the best first. */
const PLACES = [
  [1, 0],
  [-1, 0],
  [0, -1],
  [0, 1],
  [1, -1],
  [-1, -1],
  [1, 1],
  [-1, 1],
] as const;

/** How much further away it may stand where there is no room, in pixels; the best first. */
const DISTANCES = [0, 13, 26];

/** A rectangle in pixels, given by its middle. */
interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** The area in which two boxes overlap. */
function overlap(a: Box, b: Box): number {
  const across = (a.width + b.width) / 2 - Math.abs(a.x - b.x);
  const down = (a.height + b.height) / 2 - Math.abs(a.y - b.y);
  return across > 0 && down > 0 ? across * down : 0;
}

/** Writes each text beside its point: where it covers least of the points, the texts before it and the margins. */
export function labelMark(points: readonly PointLabel[]): Plot.Markish {
  const place: Plot.InitializerFunction = (data: PointLabel[], facets, channels, scales, size) => {
    // Values here have been through the transform of a logarithmic axis.
    const pixels = (key: "x" | "y") =>
      Array.from(channels[key]?.value as unknown as ArrayLike<number>, (value) => scales[key]?.(value));
    const [x, y] = [pixels("x"), pixels("y")];
    const taken: Box[] = data.map((_, i) => ({ x: x[i], y: y[i], width: 5, height: 5 }));
    for (const [i, { text }] of data.entries()) {
      if (text === "") continue;
      const width = estimatedTextWidth(text, FONT);
      const boxes = DISTANCES.flatMap((distance) =>
        PLACES.map(([across, down]) => ({
          x: x[i] + across * (width / 2 + (down === 0 ? 7 + distance : 3)),
          y: y[i] + down * (FONT / 2 + (across === 0 ? 7 : 4) + distance),
          width,
          height: FONT + 1,
        })),
      );
      const cost = (box: Box): number => {
        const left = box.x - width / 2 < size.marginLeft;
        const right = box.x + width / 2 > size.width - size.marginRight;
        const above = box.y < size.marginTop || box.y > size.height - size.marginBottom;
        const outside = left || right || above ? 1e6 : 0;
        return outside + taken.reduce((sum, other) => sum + overlap(box, other), 0);
      };
      const costs = boxes.map(cost);
      const best = boxes[costs.indexOf(Math.min(...costs))];
      if (best) {
        taken.push(best);
        [x[i], y[i]] = [best.x, best.y];
      }
    }
    const shown = facets.map((facet) => Array.from(facet).filter((i) => data[i]?.text !== ""));
    return { data, facets: shown, channels: { x: { value: x }, y: { value: y } } };
  };
  const options = { x: "x", y: "y", text: "text", fill: "colour", fontSize: FONT };
  return Plot.text(points, Plot.initializer({ ...options, stroke: "white", strokeWidth: 3 }, place));
}

/** A legend flows as one text, so that no letter need be measured; it breaks where a line is full. */
function legendLines(entries: readonly LegendEntry[], width: number): string[] {
  const lines: string[] = [];
  let used = Number.POSITIVE_INFINITY;
  for (const { key, colour, name } of entries) {
    const item = `<tspan fill="${colour}">${key}</tspan><tspan dx="6">${escapeXml(name)}</tspan>`;
    const wide = estimatedTextWidth(`${key}${name}`, FONT) + 6 + 20;
    if (used + wide > width) {
      lines.push(item);
      used = wide;
    } else {
      lines.push(`${lines.pop()}<tspan dx="20">${item}</tspan>`);
      used += wide;
    }
  }
  return lines;
}

/** Breaks text between words into lines that fit. */
function wrapped(content: string, size: number, width: number): string[] {
  const lines: string[] = [];
  for (const word of content.split(/\s+/)) {
    const longer = lines.length > 0 ? `${lines.at(-1)} ${word}` : word;
    if (lines.length > 0 && estimatedTextWidth(longer, size) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

function svgDocument(width: number, height: number, content: string): string {
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
    `font-family="${FONT_FAMILY}" font-size="${FONT}"><rect width="${width}" height="${height}" fill="#ffffff"/>${content}</svg>`
  );
}

/** Puts a body into its frame; a legend is shown where there is more than one series. */
export function frame(options: ChartOptions, body: Body): Chart {
  const { title, subtitle, width = 560, height = 360 } = options;
  const room = width - 2 * SIDE;
  const lines: string[] = [];
  let y = 8;
  for (const line of wrapped(title, TITLE_FONT, room)) {
    y += 19;
    lines.push(text(SIDE, y, line, { fill: INK, "font-size": TITLE_FONT }));
  }
  y += 3;
  for (const line of subtitle ? wrapped(subtitle, SUBTITLE_FONT, room) : []) {
    y += 16;
    lines.push(text(SIDE, y, line, { fill: MUTED, "font-size": SUBTITLE_FONT }));
  }
  if (body.legend.length > 1) {
    y += 3;
    for (const line of legendLines(body.legend, room)) {
      y += 18;
      lines.push(`<text x="${SIDE}" y="${y}" fill="${INK}">${line}</text>`);
    }
  }
  y += 8;
  lines.push(`<g transform="translate(0,${y})" color="${MUTED}">${drawBody(body, width, height - y)}</g>`);
  return { svg: svgDocument(width, height, lines.join("")), width, height };
}

/**
 * Several charts as one, in rows of `columns` (default: all in one row), each in a cell as large as the largest.
 *
 * @throws Error when there is no chart.
 */
export function panels(charts: readonly Chart[], options: { readonly columns?: number } = {}): Chart {
  if (charts.length === 0) throw new Error("expected at least one chart");
  const columns = Math.max(1, Math.min(options.columns ?? charts.length, charts.length));
  const cellWidth = Math.max(...charts.map((chart) => chart.width));
  const cellHeight = Math.max(...charts.map((chart) => chart.height));
  const width = columns * cellWidth;
  const height = Math.ceil(charts.length / columns) * cellHeight;
  const placed = charts.map(({ svg }, index) => {
    const x = (index % columns) * cellWidth;
    const y = Math.floor(index / columns) * cellHeight;
    return `<g transform="translate(${x},${y})">${svg}</g>`;
  });
  return { svg: svgDocument(width, height, placed.join("")), width, height };
}
