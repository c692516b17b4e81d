/** The two halves of an image, one above the other. */
import type { ImageShape } from "../source.js";

/** Whether byte `i` of an image `[C, H, W]` is in its top half; a middle row belongs to the bottom. */
export function topHalf([, height, width]: ImageShape): (i: number) => boolean {
  const rows = Math.floor(height / 2);
  return (i) => Math.floor(i / width) % height < rows;
}
