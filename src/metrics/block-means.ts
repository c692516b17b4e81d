/** Features of images that need no network: the mean brightness of 7 by 7 blocks. */
import { operator, type Tensor } from "../torch/index.js";

const averagePool = operator("aten::adaptive_avg_pool2d");

/** Blocks along each side. */
export const BLOCKS = 7;

/** The means of 7 x 7 blocks of each channel, pixels scaled to [0, 1]: uint8 `[N, C, H, W]` to float64 `[N, 49 C]`. */
export function blockMeans(pixels: Tensor): Tensor {
  return averagePool(pixels.to("float64").div(255), [BLOCKS, BLOCKS]).flatten(1);
}
