/** The mean absolute error of images. */
import type { Tensor } from "../torch/index.js";
import { overImagePairs } from "./tiles.js";

/**
 * `mean |a - b|` over the pixels and channels of each pair of images `[N, C, H, W]`: `[N]`, float64, on the scale of
 * the images, which are not clamped.
 * @throws Error where the shapes differ
 */
export function meanAbsoluteError(first: Tensor, second: Tensor): Tensor {
  return overImagePairs(first, second, (a, b) => a.sub(b).abs().mean([1, 2, 3]));
}
