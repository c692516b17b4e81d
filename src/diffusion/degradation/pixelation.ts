/** Pixelation: ever larger squares of one colour, that of their first pixel. */
import { UserError } from "../../errors.js";
import { fromTypedArray, type Tensor } from "../../torch/index.js";
import type { EndState } from "./degradation.js";
import { SeparableDegradation } from "./separable.js";

/**
 * The side in pixels of the squares of levels 1 .. T for images of `side` pixels: the whole part of numbers whose logarithms are
 * evenly spaced from that of 1.5 to that of `side / 2 + 5`, in single precision, on which a last one of 36 or 37 depends.
 */
export function pixelFactors(levels: number, side: number): number[] {
  const { fround, exp, floor, log } = Math;
  const [low, high] = [fround(log(1.5)), fround(log(side / 2 + 5))];
  const step = levels > 1 ? fround(fround(high - low) / (levels - 1)) : 0;
  return Array.from({ length: levels }, (_, i) => {
    // From the nearer end, as libtorch's linspace goes, so that the last is the end itself.
    const at = i < levels / 2 ? low + step * i : high - step * (levels - 1 - i);
    return floor(fround(exp(fround(at))));
  });
}

/**
 * The pixel that each of `length` pixels takes its colour from: `c min(floor(i n / S), n - 1)`, `n = floor(S / c)` at least 1.
 * Where c does not divide S the squares are unequal.
 */
export function pixelIndices(length: number, factor: number): number[] {
  const kept = Math.max(Math.floor(length / factor), 1);
  return Array.from({ length }, (_, i) => factor * Math.min(Math.floor((i * kept) / length), kept - 1));
}

export interface PixelationOptions {
  /** T */
  readonly levels: number;
}

/** `D(x, k)[i, j] = x[p(i), p(j)]` with p the `pixelIndices` of level k: nearest neighbours down and up again. */
export class Pixelation extends SeparableDegradation {
  readonly end: EndState = "corner";

  constructor({ levels }: PixelationOptions) {
    super(levels);
  }

  /** @throws UserError where there are more levels than pixels */
  checkSize(height: number, width: number): void {
    const side = Math.max(height, width);
    if (this.levels > side)
      throw new UserError(
        `expected at most as many levels of pixelation as pixels a side, ${side}, got ${this.levels}: ask for fewer`,
      );
  }

  protected matrices(length: number, side: number): Tensor {
    this.checkSize(side, side);
    const factors = [1, ...pixelFactors(this.levels, side)];
    const chosen = new Float64Array(factors.length * length * length);
    for (const [k, factor] of factors.entries())
      for (const [i, from] of pixelIndices(length, factor).entries())
        chosen[(k * length + i) * length + from] = 1;
    return fromTypedArray(chosen, [factors.length, length, length]);
  }
}
