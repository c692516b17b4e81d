/** Multi-scale structural similarity, in a form that images of 28 pixels allow. */
import { cat, operator, scope, stack, type Tensor, tensor } from "../torch/index.js";
import { overImagePairs } from "./tiles.js";

const averagePool = operator("aten::avg_pool2d");

/** The weight of each scale, from the finest on (Wang, Simoncelli and Bovik, 2003, section 3.2). */
const weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333] as const;

/** Standard deviation of the window, in pixels of the scale. */
const sigma = 1.5;

export interface SsimOptions {
  /** Side of the Gaussian window, in pixels; the image's own where that is smaller. Default 11. */
  readonly window?: number;
  /** The largest minus the smallest value that a pixel can have; default 1, for pixels in [0, 1]. */
  readonly range?: number;
}

/** The means over pixels and channels of each image, at each scale from the finest on: `[N, 5]`, float64. */
export interface SimilarityPerScale {
  /** Luminance, contrast and structure. */
  readonly ssim: Tensor;
  /** Contrast and structure alone. */
  readonly cs: Tensor;
}

/**
 * `prod_{j=1..4} cs_j^{w_j} ssim_5^{w_5}` of each pair of images, factors below 0 taken as 0: `[N, C, H, W]` twice to
 * `[N]`, float64, 1 for equal images. Values are compared as they are: clamp them to the range first.
 *
 * Wang, Simoncelli and Bovik (2003), "Multiscale structural similarity for image quality assessment", with the window
 * cut to the image and no scale below one pixel.
 *
 * @throws Error where the shapes differ
 */
export function msSsim(first: Tensor, second: Tensor, options: SsimOptions = {}): Tensor {
  return scope(() => {
    const { ssim, cs } = similarityPerScale(first, second, options);
    const coarsest = weights.length - 1;
    const factors = cat([cs.narrow(1, 0, coarsest), ssim.narrow(1, coarsest, 1)], 1).clamp(0);
    const exponents = tensor([...weights], { dtype: "float64", device: first.device });
    return factors.log().mul(exponents).sum([1]).exp();
  });
}

/**
 * What `msSsim` is made of. With the moments of the window around each pixel where it fits, and
 * `C1 = (0.01 range)^2`, `C2 = (0.03 range)^2`:
 *
 * - `cs = (2 s12 + C2) / (s1^2 + s2^2 + C2)`
 * - `ssim = cs (2 m1 m2 + C1) / (m1^2 + m2^2 + C1)`
 *
 * Each scale halves the one before by means of 2 x 2 pixels, a last odd row or column dropped.
 */
export function similarityPerScale(
  first: Tensor,
  second: Tensor,
  { window = 11, range = 1 }: SsimOptions = {},
): SimilarityPerScale {
  return scope(() => {
    const both = overImagePairs(first, second, (x, y) => {
      let pair = [x, y] as const;
      const scales = weights.map((_, scale) => {
        if (scale > 0) pair = [halved(pair[0]), halved(pair[1])];
        return similarity(...pair, { window, range });
      });
      return stack(scales, 2);
    });
    return { ssim: both.select(1, 0), cs: both.select(1, 1) };
  });
}

/** Means of 2 x 2 pixels; a side of one pixel stays as it is. */
function halved(images: Tensor): Tensor {
  const kernel = [Math.min(2, images.dim(2)), Math.min(2, images.dim(3))];
  return averagePool(images, kernel, kernel);
}

/** Ssim and cs of images `[n, C, H, W]` at one scale: `[n, 2]`. */
function similarity(x: Tensor, y: Tensor, { window, range }: Required<SsimOptions>): Tensor {
  const [c1, c2] = [(0.01 * range) ** 2, (0.03 * range) ** 2];
  const side = Math.min(window, x.dim(2), x.dim(3));
  const average = (images: Tensor) => windowMeans(images, side);
  const [m1, m2] = [average(x), average(y)];
  const spread = average(x.square()).sub(m1.square()).add(average(y.square()).sub(m2.square()));
  const cs = average(x.mul(y)).sub(m1.mul(m2)).mul(2).add(c2).div(spread.add(c2));
  const luminance = m1.mul(m2).mul(2).add(c1).div(m1.square().add(m2.square()).add(c1));
  return stack([luminance.mul(cs).mean([1, 2, 3]), cs.mean([1, 2, 3])], 1);
}

/**
 * The Gaussian means of windows of `side` by `side` pixels, wherever one fits: the product with a band of weights
 * along each axis, which is many times faster in float64 than a convolution.
 */
function windowMeans(images: Tensor, side: number): Tensor {
  const along = (length: number) => windowBand(length, side, images.device);
  const rows = images.matmul(along(images.dim(3)));
  return rows
    .transpose(2, 3)
    .matmul(along(images.dim(2)))
    .transpose(2, 3);
}

/** `[length, length - side + 1]`: each column is the window one pixel on. */
function windowBand(length: number, side: number, device: string): Tensor {
  const taps = Array.from({ length: side }, (_, i) =>
    Math.exp(-((i - Math.floor(side / 2)) ** 2) / (2 * sigma ** 2)),
  );
  const total = taps.reduce((sum, tap) => sum + tap, 0);
  const band = Array.from({ length }, (_, row) =>
    Array.from({ length: length - side + 1 }, (_, column) => (taps[row - column] ?? 0) / total),
  );
  return tensor(band, { dtype: "float64", device });
}
