/** gamma of every pixel as numbers: over a grid of times, as maps, and as columns of a table. */
import type { NoiseCurve } from "../diffusion/schedule/index.js";
import { full, noGrad, type Shape, scope, type Tensor } from "../torch/index.js";
import type { Row } from "./figure.js";

/** Digits of the numbers of single pixels: a table has thousands of them. */
const DIGITS = 6;

export interface CurveSize {
  /** Latents or images that the curve is of. */
  readonly count: number;
  /** `[C, H, W]` of one image, `[D]` of a point. */
  readonly shape: Shape;
  readonly device: string;
}

/** D */
export function dimensionsOf(shape: Shape): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** What `read` says of gamma `[count, D]`, float64, at each of the times; the curve is made once. */
export function overTimes<R>(
  makeCurve: () => NoiseCurve,
  times: readonly number[],
  { count, shape, device }: CurveSize,
  read: (gamma: Tensor) => R,
): readonly R[] {
  const dimensions = dimensionsOf(shape);
  return noGrad(() =>
    scope(() => {
      const curve = makeCurve();
      return times.map((time) =>
        scope(() => {
          const { gamma } = curve.at(full([count], time, { dtype: "float64", device }));
          return read(gamma.expand([count, dimensions]));
        }),
      );
    }),
  );
}

/** `t_k = (k + 1/2) / K` */
export function midpoints(count: number): readonly number[] {
  return Array.from({ length: count }, (_, k) => (k + 0.5) / count);
}

/** `count` times from 0 to 1. */
export function grid(count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => i / Math.max(1, count - 1));
}

/** The line from gamma(0) to gamma(1), each the mean over all pixels: the linear schedule between the same ends. */
export function lineOf(makeCurve: () => NoiseCurve, size: CurveSize): (t: number) => number {
  const [start = 0, end = 0] = overTimes(makeCurve, [0, 1], size, (gamma) => gamma.mean().item());
  return (t) => start + (end - start) * t;
}

/** The curve of each of D pixels, from their numbers at each time. */
export function curvesOf(atTimes: readonly ArrayLike<number>[]): readonly (readonly number[])[] {
  const dimensions = atTimes[0]?.length ?? 0;
  return Array.from({ length: dimensions }, (_, i) => atTimes.map((values) => values[i] ?? Number.NaN));
}

/** Mean, population deviation and range of some numbers. */
export interface Spread {
  readonly mean: number;
  readonly deviation: number;
  readonly low: number;
  readonly high: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const mean = values.reduce((sum, value) => sum + value / values.length, 0);
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2 / values.length, 0);
  const low = values.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
  const high = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  return { mean, deviation: Math.sqrt(variance), low, high };
}

/** Numbers of D pixels, in the order `(h W + w) C + c`, as columns `h0w0c0`; without `c` where there is one channel. */
export function pixelColumns(values: ArrayLike<number>, shape: Shape): Row {
  const [channels = 1, , width = 1] = shape.length === 3 ? shape : [];
  const name = (i: number): string => {
    if (shape.length !== 3) return `x${i}`;
    const position = Math.floor(i / channels);
    const place = `h${Math.floor(position / width)}w${position % width}`;
    return channels === 1 ? place : `${place}c${i % channels}`;
  };
  return Object.fromEntries(
    Array.from(values, (value, i) => [name(i), Number(value.toPrecision(DIGITS))] as const),
  );
}
