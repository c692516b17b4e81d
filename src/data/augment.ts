/** Augmentation of a batch of byte images: mirrored, turned, with colour channels permuted (VDM's cifar10_aug). */
import { type ImageShape, imageBytes } from "./source.js";

export type Augmentation = "none" | "flip-rotate" | "flip-rotate-channels";

/** Uniform draws that one image takes: flip?, turn?, by how much, permute?, and which permutation. */
export const drawsPerImage = 5;

const permutations = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;

/**
 * Augments images `[B, C, H, W]` in place: with probability 1/2 left-right; with 1/2 turned by `ceil(3 u)` quarters; with
 * `flip-rotate-channels` and 1/2, channels in a random order. Returns per image 1 where any of these was applied, else 0.
 *
 * @param draws uniform in [0, 1), `drawsPerImage` an image
 */
export function augment(
  pixels: Uint8Array,
  shape: ImageShape,
  kind: Exclude<Augmentation, "none">,
  draws: ArrayLike<number>,
): Float32Array {
  const [channels, height, width] = shape;
  const size = imageBytes(shape);
  const count = pixels.length / size;
  const applied = new Float32Array(count);
  for (let image = 0; image < count; image++) {
    const draw = (k: number) => draws[image * drawsPerImage + k] as number;
    const flip = draw(0) < 0.5;
    // Images that are not square can only be turned by a half.
    const quarters = draw(1) < 0.5 ? (height === width ? Math.max(1, Math.ceil(3 * draw(2))) : 2) : 0;
    const permute = kind === "flip-rotate-channels" && channels === 3 && draw(3) < 0.5;
    if (!flip && quarters === 0 && !permute) continue;
    applied[image] = 1;
    const order = permute
      ? (permutations[Math.floor(draw(4) * permutations.length)] as readonly number[])
      : undefined;
    const target = pixels.subarray(image * size, (image + 1) * size);
    const source = target.slice();
    for (let c = 0; c < channels; c++) {
      const from = (order ? (order[c] as number) : c) * height * width;
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
          const [row, column] = turned(y, x, height, width, quarters);
          target[(c * height + y) * width + x] = source[
            from + row * width + (flip ? width - 1 - column : column)
          ] as number;
        }
    }
  }
  return applied;
}

/** Where the pixel at (y, x) of the turned image comes from. */
function turned(
  y: number,
  x: number,
  height: number,
  width: number,
  quarters: number,
): [row: number, column: number] {
  switch (quarters) {
    case 1:
      return [x, width - 1 - y];
    case 2:
      return [height - 1 - y, width - 1 - x];
    case 3:
      return [height - 1 - x, y];
    default:
      return [y, x];
  }
}
