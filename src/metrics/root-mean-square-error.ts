/** The root mean square error of images. */
import type { Tensor } from "../torch/index.js";
import { overImagePairs } from "./tiles.js";

/**
 * `sqrt(mean (a - b)^2)` over the pixels and channels of each pair of images `[N, C, H, W]`: `[N]`, float64, on the
 * scale of the images, which are not clamped.
 * @throws Error where the shapes differ
 */
export function rootMeanSquareError(first: Tensor, second: Tensor): Tensor {
  return overImagePairs(first, second, (a, b) => a.sub(b).square().mean([1, 2, 3]).sqrt());
}
