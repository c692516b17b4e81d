/** Blur by Gaussian kernels one after another (Bansal et al., 2022). */
import { UserError } from "../../errors.js";
import { fromTypedArray, full, stack, type Tensor } from "../../torch/index.js";
import type { EndState } from "./degradation.js";
import { heatMatrix } from "./heat-blur.js";
import { SeparableDegradation } from "./separable.js";

/** Width in pixels of the kernel of step i = 0 .. T - 1, and the scale that publications read it at. */
const rules = {
  constant: { usual: 2, width: (scale) => scale },
  incremental: { usual: 0.2, width: (scale, i) => scale * (i + 1) },
  exponential: { usual: 0.01, width: (scale, i) => Math.exp(scale * i) },
  linear: { usual: 0.01, width: (scale, i) => 0.35 + scale * i },
} as const satisfies Record<
  string,
  { readonly usual: number; readonly width: (scale: number, i: number) => number }
>;

export type GaussianWidths = keyof typeof rules;
export const gaussianWidthRules = Object.keys(rules) as [GaussianWidths, ...GaussianWidths[]];

/**
 * Kernel widths in pixels of steps 0 .. T - 1: `s`, `s (i + 1)`, `exp(s i)` or `0.35 + s i`, s the `scale`; that
 * is 2, 0.2, 0.01 or 0.01 unless given.
 */
export function gaussianWidths(rule: GaussianWidths, levels: number, scale?: number): number[] {
  const { usual, width } = rules[rule];
  return Array.from({ length: levels }, (_, i) => width(scale ?? usual, i));
}

/** `g_j`, in proportion to `exp(-(j - (n - 1) / 2)^2 / (2 width^2))`, of sum 1; n is odd. A kernel of images is `g g^T`. */
export function gaussianKernel(n: number, width: number): Float64Array {
  const g = Float64Array.from({ length: n }, (_, j) =>
    Math.exp(-((j - (n - 1) / 2) ** 2) / (2 * width ** 2)),
  );
  const total = g.reduce((sum, each) => sum + each, 0);
  return g.map((each) => each / total);
}

/** The pixel that stands in for `i` outside 0 .. S - 1. */
const outside = {
  circular: (i: number, size: number) => ((i % size) + size) % size,
  /** The edge is not repeated. */
  reflect: (i: number, size: number) => size - 1 - Math.abs(size - 1 - Math.abs(i)),
} as const;

export type BlurPadding = keyof typeof outside;

/** One convolution of an axis as a matrix, float64 `[length, length]`. */
function convolution(length: number, kernel: Float64Array, padding: BlurPadding): Tensor {
  const matrix = new Float64Array(length * length);
  const reach = (kernel.length - 1) / 2;
  for (let row = 0; row < length; row++)
    for (const [j, weight] of kernel.entries()) {
      const at = row * length + outside[padding](row + j - reach, length);
      matrix[at] = (matrix[at] as number) + weight;
    }
  return fromTypedArray(matrix, [length, length]);
}

export interface GaussianBlurOptions {
  /** T */
  readonly levels: number;
  /** Pixels of the kernel's side, odd. */
  readonly size: number;
  readonly widths: GaussianWidths;
  /** What `widths` reads; see `gaussianWidths`. */
  readonly scale?: number | undefined;
  readonly padding: BlurPadding;
  /** Whether the last level is what the last kernel leaves (`blurred`), or the `mean` colour of that. */
  readonly last: "mean" | "blurred";
}

/** `D(x, k) = G_{k-1} * ... * G_0 * x`, the same kernels for all channels. */
export class GaussianBlur extends SeparableDegradation {
  readonly end: EndState;
  readonly #options: GaussianBlurOptions;

  constructor(options: GaussianBlurOptions) {
    super(options.levels);
    this.end = options.last === "mean" ? "colour" : "blurred";
    this.#options = options;
  }

  /** @throws UserError where the kernel reaches further over the border than the image is long */
  checkSize(height: number, width: number): void {
    const { size } = this.#options;
    const [reach, length] = [(size - 1) / 2, Math.min(height, width)];
    if (reach >= length)
      throw new UserError(
        `expected images of more than ${reach} pixels a side for a kernel of ${size}, got ${length}: take a smaller size`,
      );
  }

  protected matrices(length: number): Tensor {
    this.checkSize(length, length);
    const { levels, size, widths, scale, padding, last } = this.#options;
    let product = heatMatrix(length, 0);
    const all = [product];
    for (const width of gaussianWidths(widths, levels, scale)) {
      product = convolution(length, gaussianKernel(size, width), padding).matmul(product);
      all.push(product);
    }
    if (last === "mean")
      all[levels] = full([length, length], 1 / length, { dtype: "float64" }).matmul(product);
    return stack(all);
  }
}
