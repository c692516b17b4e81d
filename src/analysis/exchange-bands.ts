/** Bands of spatial frequency: what of a difference between images is coarse, and what is fine. */
import { dct2 } from "../diffusion/degradation/index.js";
import { fromTypedArray, stack, type Tensor } from "../torch/index.js";

/** Octaves of `sqrt((i / H)^2 + (j / W)^2)`, 1 being the highest frequency along an axis. */
const BORDERS = [1 / 8, 1 / 4, 1 / 2] as const;

/** The bands by name, from coarse to fine. */
export const bandNames = ["below 1/8", "1/8 to 1/4", "1/4 to 1/2", "above 1/2"] as const;

/** Whether each coefficient `[H, W]` is of the band: float64, 0 or 1. */
function bandMask(height: number, width: number, band: number): Tensor {
  const inBand = Float64Array.from({ length: height * width }, (_, at) => {
    const radius = Math.hypot(Math.floor(at / width) / height, (at % width) / width);
    return BORDERS.filter((border) => radius >= border).length === band ? 1 : 0;
  });
  return fromTypedArray(inBand, [height, width]);
}

/**
 * The squared coefficients of the orthonormal cosine transform of images `[B, C, H, W]`, summed in each band: float64
 * `[B, 4]`, whose rows add up to `||x||^2` (Parseval).
 */
export function bandEnergies(x: Tensor): Tensor {
  const squares = dct2(x.to("float64")).square();
  const [, , height, width] = x.shape as [number, number, number, number];
  const bands = bandNames.map((_, band) => bandMask(height, width, band).toDevice(x.device));
  return stack(
    bands.map((mask) => squares.mul(mask).sum([1, 2, 3])),
    1,
  );
}
