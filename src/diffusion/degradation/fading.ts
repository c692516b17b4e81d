/** Fading to black, alone or on top of another degradation. */
import { UserError } from "../../errors.js";
import { fromTypedArray, type Tensor } from "../../torch/index.js";
import { perImage } from "../level.js";
import { type Degradation, degradedFurther, type EndState } from "./degradation.js";
import { LevelTables } from "./level-tables.js";

/** a of the index t = 0 .. T - 1; the last is set to 0. */
const curves = {
  cosine: (t: number, levels: number) => Math.cos((((t / (levels - 1) + 0.008) / 1.008) * Math.PI) / 2) ** 2,
  linear: (t: number, levels: number) => 1 - (t + 1) / levels,
  exponential: (t: number) => 0.95 ** t,
} as const satisfies Record<string, (t: number, levels: number) => number>;

export type FadingCurve = keyof typeof curves;
export const fadingCurves = Object.keys(curves) as [FadingCurve, ...FadingCurve[]];

/**
 * What levels 1 .. T leave of an image's brightness: `cos^2(pi/2 (u + 0.008) / 1.008)`, `u = t / (T - 1)`, or `1 - (t + 1) / T`,
 * or `0.95^t`, with t = level - 1; 0 at the last level.
 */
export function fadingCoefficients(curve: FadingCurve, levels: number): number[] {
  return Array.from({ length: levels }, (_, t) => (t === levels - 1 ? 0 : curves[curve](t, levels)));
}

export interface FadingOptions {
  /** `cosine` unless given. */
  readonly curve?: FadingCurve;
}

/** `D(x, k) = a_k Op(x, k)`, `a_0 = 1`, `a_T = 0`. */
export class Fading implements Degradation {
  readonly levels: number;
  readonly end: EndState = "black";
  readonly coefficients: readonly number[];
  readonly #of: Degradation | undefined;
  readonly #tables = new LevelTables();

  /**
   * @param of what fades: as many levels of images, or another degradation
   * @throws UserError where that degradation has noise, whose end would not be black
   */
  constructor(of: number | Degradation, { curve = "cosine" }: FadingOptions = {}) {
    this.levels = typeof of === "number" ? of : of.levels;
    this.#of = typeof of === "number" ? undefined : of;
    if (this.#of?.noiseDeviation)
      throw new UserError("expected a degradation without noise to fade, got one with it: fade another");
    this.coefficients = [1, ...fadingCoefficients(curve, this.levels)];
  }

  checkSize(height: number, width: number): void {
    this.#of?.checkSize?.(height, width);
  }

  degrade(x: Tensor, level: Tensor): Tensor {
    const a = this.#tables.rows("a", level, x, () =>
      fromTypedArray(Float64Array.from(this.coefficients), [this.levels + 1]),
    );
    return perImage(a).mul(this.#of?.degrade(x, level) ?? x);
  }

  /** `a_to Op(x / a_from)`, which has no meaning from level T on. */
  degradeFurther(x: Tensor, from: number, to: number): Tensor {
    const [before, after] = [this.coefficients[from] as number, this.coefficients[to] as number];
    const bright = x.div(before);
    return (this.#of ? degradedFurther(this.#of, bright, from, to) : bright).mul(after);
  }
}
