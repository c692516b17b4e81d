/** Colour maps: numbers as colours, for heat maps and for curves told apart by a value. */
import * as Plot from "@observablehq/plot";

/**
 * `diverging`: blue, white, red; white is exactly 0. `sequential`: viridis, equal steps of which look equal.
 * `grey`: black to white.
 */
export type ColourMap = "diverging" | "sequential" | "grey";

/** The ends of a colour map; those of a diverging one are `-r` and `r`. */
export type ColourRange = readonly [low: number, high: number];

/** Red, green and blue, 0 to 255. */
export type Rgb = readonly [number, number, number];

/** What is not a number: a colour that no map has. */
export const NOT_A_NUMBER: Rgb = [255, 0, 255];

/** Levels of a map; odd, so that one of them is the middle. */
const LEVELS = 511;

/** ColorBrewer's RdBu in eleven classes, from blue to red, the middle one white. */
const BLUE_WHITE_RED = [
  "#053061",
  "#2166ac",
  "#4393c3",
  "#92c5de",
  "#d1e5f0",
  "#ffffff",
  "#fddbc7",
  "#f4a582",
  "#d6604d",
  "#b2182b",
  "#67001f",
];

const SCALES: Readonly<Record<ColourMap, Plot.ScaleOptions>> = {
  diverging: {
    type: "linear",
    domain: BLUE_WHITE_RED.map((_, i) => i / (BLUE_WHITE_RED.length - 1)),
    range: BLUE_WHITE_RED,
    interpolate: "lab",
  },
  sequential: { type: "linear", domain: [0, 1], scheme: "viridis" },
  grey: { type: "linear", domain: [0, 1], range: ["#000000", "#ffffff"], interpolate: "rgb" },
};

function parseColour(text: string): Rgb {
  const hex = /^#(..)(..)(..)$/.exec(text)?.slice(1);
  const [red = 0, green = 0, blue = 0] = hex
    ? hex.map((digits) => Number.parseInt(digits, 16))
    : (text.match(/\d+/g) ?? []).map(Number);
  return [red, green, blue];
}

const tables = new Map<ColourMap, readonly Rgb[]>();

function tableOf(map: ColourMap): readonly Rgb[] {
  const known = tables.get(map);
  if (known) return known;
  const { apply } = Plot.scale({ color: SCALES[map] });
  const table = Array.from({ length: LEVELS }, (_, i) => parseColour(String(apply(i / (LEVELS - 1)))));
  tables.set(map, table);
  return table;
}

/** The colour of `value`; what lies outside the range has the colour of its end. */
export function colourOf(value: number, map: ColourMap, [low, high]: ColourRange): Rgb {
  if (Number.isNaN(value)) return NOT_A_NUMBER;
  const u = Math.min(1, Math.max(0, (value - low) / (high - low)));
  return tableOf(map)[Math.round(u * (LEVELS - 1))] ?? NOT_A_NUMBER;
}

/** `rgb(1,2,3)` */
export function css([red, green, blue]: Rgb): string {
  return `rgb(${red},${green},${blue})`;
}

/** What the finite ones of some numbers span, widened where that is a point or nothing. */
export function colourRange(map: ColourMap, groups: Iterable<ArrayLike<number>>): ColourRange {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const values of groups) {
    for (let i = 0; i < values.length; i++) {
      const value = values[i] ?? Number.NaN;
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) [low, high] = [0, 0];
  if (map === "diverging") {
    const largest = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return [-largest, largest];
  }
  if (low < high) return [low, high];
  const half = Math.abs(low) / 2 || 1;
  return [low - half, high + half];
}
