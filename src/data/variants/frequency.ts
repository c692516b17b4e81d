/**
 * Low and high frequencies apart: `low = blur(image)`, `high = image - min(low, image)` (MuLAN, synthetic data sets).
 */
import { gaussianBlur } from "./gaussian-blur.js";
import { topHalf } from "./halves.js";
import type { Variant, VariantImage } from "./variant.js";

function split({ pixels, shape }: VariantImage): { readonly low: Uint8Array; readonly high: Uint8Array } {
  const low = gaussianBlur(pixels, shape);
  const high = pixels.map((value, i) => Math.max(0, value - (low[i] as number)));
  return { low, high };
}

/** The top half of each image is of low frequency, the bottom half of high. */
export const frequencyHalves: Variant = {
  name: "frequency-halves",
  summary: "the top half blurred, of the bottom half what the blur takes away",
  make(image) {
    const { low, high } = split(image);
    const top = topHalf(image.shape);
    return [high.map((value, i) => (top(i) ? (low[i] as number) : value))];
  },
};

/**
 * Image `i` becomes image `2 i`, of low frequency, and `2 i + 1`, of high. Low is class 0 and high class 1, so that a
 * model conditioned on the class knows which it is, and per-class results tell them apart.
 */
export const frequencySplit: Variant = {
  name: "frequency-split",
  summary: "each image becomes two: blurred (class 0), and what the blur takes away (class 1)",
  parts: ["low", "high"],
  make(image) {
    const { low, high } = split(image);
    return [low, high];
  },
};
