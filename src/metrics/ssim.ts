/** Structural similarity at one scale. */
import { stack, type Tensor, tensor } from "../torch/index.js";
import { overImagePairs } from "./tiles.js";

/** Standard deviation of the window, in pixels of the scale. */
const sigma = 1.5;

export interface SsimOptions {
  /** Side of the Gaussian window, in pixels; the image's own where that is smaller. Default 11. */
  readonly window?: number;
  /** The largest minus the smallest value that a pixel can have; default 1, for pixels in [0, 1]. */
  readonly range?: number;
}

/**
 * Structural similarity of each pair of images: `[N, C, H, W]` twice to `[N]`, float64, 1 for equal images. With the
 * moments of the Gaussian window around each pixel where it fits, and `C1 = (0.01 range)^2`, `C2 = (0.03 range)^2`, the
 * mean over pixels and channels of
 *
 * - `ssim = cs (2 m1 m2 + C1) / (m1^2 + m2^2 + C1)`
 * - `cs = (2 s12 + C2) / (s1^2 + s2^2 + C2)`
 *
 * Wang, Bovik, Sheikh and Simoncelli (2004), "Image quality assessment: from error visibility to structural
 * similarity", with the window cut to the image. Values are compared as they are: clamp them to the range first.
 *
 * @throws Error where the shapes differ
 */
export function ssim(first: Tensor, second: Tensor, options: SsimOptions = {}): Tensor {
  return overImagePairs(first, second, (x, y) => similarity(x, y, options).select(1, 0));
}

/** The means of `ssim` and `cs` of images `[n, C, H, W]`, in float64: `[n, 2]`. */
export function similarity(x: Tensor, y: Tensor, { window = 11, range = 1 }: SsimOptions): Tensor {
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
