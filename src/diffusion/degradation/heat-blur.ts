/** Blur by the heat equation with zero flux through the borders (Rissanen et al., 2023), in closed form. */
import { UserError } from "../../errors.js";
import { fromTypedArray, stack, type Tensor } from "../../torch/index.js";
import { dctMatrix, heatDecay } from "./dct.js";
import type { EndState } from "./degradation.js";
import { SeparableDegradation } from "./separable.js";

export interface HeatWidths {
  /** Width of level 1 in pixels. */
  readonly first: number;
  /** Width of the last level in pixels. */
  readonly last: number;
  /** Whether the last width is that of the last level alone (`once`) or of the last two (`twice`). */
  readonly reached: "once" | "twice";
}

/**
 * Widths in pixels of levels 1 .. T, evenly spaced in their logarithm. Reached `twice` they are those of variational cold
 * diffusion, whose level before black has to be blurred in full; with `once` and 0.5 those of Rissanen et al. A chain of one
 * level has the last width.
 *
 * @throws UserError unless the first is above 0 and the last not below it
 */
export function heatWidths(levels: number, { first, last, reached }: HeatWidths): number[] {
  if (!(first > 0 && last >= first))
    throw new UserError(
      `expected blur from a width above 0 to one that is no smaller, got ${first} to ${last} pixels: exchange them`,
    );
  if (levels === 1) return [last];
  const steps = reached === "twice" ? levels - 2 : levels - 1;
  const width = (i: number) => first * (last / first) ** (i / Math.max(steps, 1));
  return Array.from({ length: levels }, (_, i) => width(Math.min(i, steps)));
}

/** The matrix `C^T diag(exp(-f_k^2 tau)) C` of an axis, float64 `[S, S]`: symmetric, its rows sum to 1, the identity at 0. */
export function heatMatrix(size: number, tau: number): Tensor {
  if (tau === 0)
    return fromTypedArray(
      Float64Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0)),
      [size, size],
    );
  const basis = dctMatrix(size);
  const decay = fromTypedArray(heatDecay(size, tau), [size, 1]);
  return basis.transpose(0, 1).matmul(decay.mul(basis));
}

/** `x` `[..., H, W]` after heat has spread for the time `tau = sigma^2 / 2`, any number from 0, in pixels^2. */
export function spreadHeat(x: Tensor, tau: number): Tensor {
  const along = (length: number) => heatMatrix(length, tau).toDevice(x.device, x.dtype);
  return along(x.dim(x.rank - 2))
    .matmul(x)
    .matmul(along(x.dim(x.rank - 1)));
}

export interface HeatBlurOptions {
  /** T */
  readonly levels: number;
  /** Pixels; 1 unless given. */
  readonly firstWidth?: number;
  /** Pixels; the longer side of the image unless given, which leaves its mean colour and 0.7 % of its slowest mode. */
  readonly lastWidth?: number | undefined;
  /** `twice` unless given. */
  readonly lastReached?: HeatWidths["reached"];
}

/** `D(x, k) = C^T [exp(-(f_i^2 + f_j^2) sigma_k^2 / 2) .* (C x C^T)] C`, `f_k = pi k / S`: a Gaussian blur of sigma_k pixels. */
export class HeatBlur extends SeparableDegradation {
  readonly end: EndState;
  readonly #options: HeatBlurOptions;

  constructor(options: HeatBlurOptions) {
    super(options.levels);
    this.end = options.lastWidth === undefined ? "colour" : "blurred";
    this.#options = options;
  }

  /** Widths in pixels of levels 0 .. T for images of this longer side. */
  widths(side: number): number[] {
    const { levels, firstWidth = 1, lastWidth = side, lastReached = "twice" } = this.#options;
    return [0, ...heatWidths(levels, { first: firstWidth, last: lastWidth, reached: lastReached })];
  }

  /** @throws UserError where the last width, which may be the longer side of the image, is below the first */
  checkSize(height: number, width: number): void {
    this.widths(Math.max(height, width));
  }

  degradeFurther(x: Tensor, from: number, to: number): Tensor {
    const widths = this.widths(Math.max(x.dim(2), x.dim(3)));
    return spreadHeat(x, ((widths[to] as number) ** 2 - (widths[from] as number) ** 2) / 2);
  }

  protected matrices(length: number, side: number): Tensor {
    return stack(this.widths(side).map((width) => heatMatrix(length, width ** 2 / 2)));
  }
}
