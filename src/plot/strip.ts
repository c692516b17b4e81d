/** Sequences of images as strips: one row a sample, one column a state. */
import { imagePicture } from "./image-grid.js";
import type { Picture, PictureOptions } from "./picture.js";
import { checkAlike, type Pixels } from "./png.js";

/**
 * Draws the states of a batch side by side, in their order, such as from the fully degraded image on the left to the
 * image on the right; `columnLabels` name them (`k = 6`), `rowLabels` the samples.
 *
 * @throws Error when there is no state, states differ in shape, or the bytes do not fill it
 */
export async function stripPicture(
  states: readonly Pixels[],
  options: PictureOptions = {},
): Promise<Picture> {
  const { count, channels, height, width } = checkAlike(states);
  const size = channels * height * width;
  const columns = states.length;
  const data = new Uint8Array(count * columns * size);
  for (const [column, state] of states.entries())
    for (let row = 0; row < count; row++)
      data.set(state.data.subarray(row * size, (row + 1) * size), (row * columns + column) * size);
  return imagePicture({ data, count: count * columns, channels, height, width }, { ...options, columns });
}
