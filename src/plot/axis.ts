/** What an axis spans, where its ticks are, and how their numbers are written. */
import type * as Plot from "@observablehq/plot";

/** One axis: what it shows, with its unit, and how. */
export interface Axis {
  readonly label: string;
  readonly scale?: "linear" | "log";
  /** The ends of the axis; default: what the data span. */
  readonly domain?: readonly [number, number];
}

/** Whether an axis has a place for the number. */
export function hasPlace(value: number, axis: Axis): boolean {
  return Number.isFinite(value) && (axis.scale !== "log" || value > 0);
}

/** The ends of an axis: those asked for, else what `values` span, else a span to look at. */
function domainOf(axis: Axis, values: Iterable<number>): readonly [number, number] {
  if (axis.domain) return axis.domain;
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (!hasPlace(value, axis)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return axis.scale === "log" ? [1, 10] : [0, 1];
  if (low < high) return [low, high];
  const half = Math.abs(low) / 2 || 1;
  return axis.scale === "log" ? [low / 2, high * 2] : [low - half, high + half];
}

/**
 * Ticks of a logarithmic axis: powers of ten, every k-th where there are many, more of them where there are few;
 * `undefined` where the axis is so short that evenly spaced ticks serve better.
 */
export function logTicks([low, high]: readonly [number, number], count: number): number[] | undefined {
  const ticksOf = (mantissas: readonly number[], every: number): number[] => {
    const ticks: number[] = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      if (power % every !== 0) continue;
      for (const mantissa of mantissas) {
        // Parsed, since a product such as 2 * 10 ** -6 need not be the nearest number to 0.000002.
        const tick = Number(`${mantissa}e${power}`);
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    }
    return ticks;
  };
  const powers = ticksOf([1], 1);
  if (powers.length > count) return ticksOf([1], Math.ceil(powers.length / count));
  const choices = [powers, ticksOf([1, 2, 5], 1), ticksOf([1, 1.5, 2, 3, 4, 5, 7], 1)];
  return choices.find((ticks) => ticks.length >= 4);
}

/** About `count` round numbers, evenly spaced. */
function evenTicks([low, high]: readonly [number, number], count: number): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((m) => m * power >= rough) ?? 10) * power;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(6)),
  );
}

const SUPERSCRIPTS: Readonly<Record<string, string>> = {
  "-": "⁻",
  "0": "⁰",
  "1": "¹",
  "2": "²",
  "3": "³",
  "4": "⁴",
  "5": "⁵",
  "6": "⁶",
  "7": "⁷",
  "8": "⁸",
  "9": "⁹",
};

/** `2×10⁻⁶`, and `10⁻⁶` for a mantissa of one. */
export function powerOfTen(value: number): string {
  if (value === 0) return "0";
  const [mantissa = "", exponent = ""] = value.toExponential().split("e");
  const power = [...exponent.replace("+", "")].map((sign) => SUPERSCRIPTS[sign]).join("");
  return mantissa === "1" ? `10${power}` : `${mantissa}×10${power}`;
}

/** `200K`, `1.2M`. */
function compact(value: number): string {
  return value.toLocaleString("en-US", { notation: "compact", maximumSignificantDigits: 4 });
}

/** Axis options in Plot's words; about `count` ticks. */
export function axisOptions(
  axis: Axis,
  values: Iterable<number>,
  options: { readonly count: number; readonly ends: "exact" | "rounded" },
): Plot.ScaleOptions {
  const domain = domainOf(axis, values);
  const largest = Math.max(Math.abs(domain[0]), Math.abs(domain[1]));
  if (axis.scale === "log") {
    const plain = domain[0] >= 1e-3 && domain[1] < 1e5;
    const format = (value: number) =>
      plain ? value.toLocaleString("en-US", { maximumSignificantDigits: 6 }) : powerOfTen(value);
    const ticks = logTicks(domain, options.count) ?? evenTicks(domain, options.count);
    // Logarithms on a linear scale: Plot's own logarithmic scale leaves out the labels of ticks such as 5 and 50.
    return {
      type: "linear",
      transform: Math.log10,
      domain: domain.map(Math.log10),
      ticks: ticks.map(Math.log10),
      tickFormat: (power: number) => format(Number((10 ** power).toPrecision(6))),
    };
  }
  const nice = options.ends === "rounded" && axis.domain === undefined ? options.count : false;
  const format = largest >= 1e5 ? { tickFormat: compact } : largest < 1e-3 ? { tickFormat: powerOfTen } : {};
  return { type: "linear", domain: [...domain], nice, ticks: options.count, ...format };
}
