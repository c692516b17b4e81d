/** Gaussian blur of byte images, as far as the split into low and high frequencies needs it. */
import type { ImageShape } from "../source.js";

/** The standard deviation of the blur, in units of the image's shorter side. */
const cutoff = 0.06;

/**
 * The weights of the blur along one axis: `exp(-k^2 / 2 sigma^2)`, normalised, `sigma = 0.06 min(H, W)`. Their number
 * is `2 (sigma + 1) / 0.3 + 1` cut off to an odd number no larger than the image: 19 for 32 pixels a side, 17 for 28.
 */
export function blurWeights([, height, width]: ImageShape): readonly number[] {
  const side = Math.min(height, width);
  const sigma = cutoff * side;
  const count = Math.min(Math.floor((2 * (sigma + 1)) / 0.3 + 1), side);
  const reach = Math.floor((count - 1) / 2);
  const heights = Array.from({ length: 2 * reach + 1 }, (_, k) =>
    Math.exp(-((k - reach) ** 2) / (2 * sigma ** 2)),
  );
  const sum = heights.reduce((total, value) => total + value, 0);
  return heights.map((value) => value / sum);
}

/**
 * The image blurred by `blurWeights` along both axes, `[C, H, W]`; beyond an edge it goes on mirrored, the edge itself
 * not repeated. Rounded to the nearest byte (where the official code cuts off the fraction, which darkens the image).
 */
export function gaussianBlur(pixels: Uint8Array, shape: ImageShape): Uint8Array {
  const [channels, height, width] = shape;
  const weights = blurWeights(shape);
  const rows = mirrored(height, weights.length);
  const columns = mirrored(width, weights.length);
  const blurred = new Uint8Array(pixels.length);
  const across = new Float64Array(height * width);
  for (let c = 0; c < channels; c++) {
    const plane = pixels.subarray(c * height * width, (c + 1) * height * width);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++)
          sum += (weights[k] as number) * (plane[y * width + (columns[x + k] as number)] as number);
        across[y * width + x] = sum;
      }
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++)
          sum += (weights[k] as number) * (across[(rows[y + k] as number) * width + x] as number);
        blurred[(c * height + y) * width + x] = Math.round(sum);
      }
  }
  return blurred;
}

/** Where each of `length` places, and those that weights reach beyond both ends, takes its value from. */
function mirrored(length: number, weights: number): Int32Array {
  const reach = (weights - 1) / 2;
  return Int32Array.from({ length: length + 2 * reach }, (_, i) => {
    const place = Math.abs(i - reach);
    return place < length ? place : 2 * (length - 1) - place;
  });
}
