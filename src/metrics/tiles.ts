/** Sets too large to work on at once: tile after tile in float64, each in a scope of its own. */
import { cat, scope, type Tensor } from "../torch/index.js";

/** Rows of a tile: 512 by 512 distances are 2 MiB, 512 features of 2048 numbers 8 MiB. */
const rowsAtOnce = 512;

/** Numbers of a tile of images. */
const numbersAtOnce = 2 ** 20;

/** What `visit` returns for one tile after another of the rows of `features` `[N, F]`, in float64. */
export function overRows<R>(features: Tensor, visit: (rows: Tensor, start: number) => R): R[] {
  return overTiles(features.dim(0), rowsAtOnce, (start, length) =>
    visit(features.narrow(0, start, length).to("float64"), start),
  );
}

/**
 * What `measure` makes, `[n, ...]`, of tiles `[n, C, H, W]` of two sets of images, in float64, put together again.
 * @throws Error where the sets differ in shape
 */
export function overImagePairs(
  first: Tensor,
  second: Tensor,
  measure: (first: Tensor, second: Tensor) => Tensor,
): Tensor {
  if (first.rank !== 4 || first.shape.join() !== second.shape.join())
    throw new Error(`expected two tensors of images [N, C, H, W] of one shape, got ${first} and ${second}`);
  const [count = 0, ...image] = first.shape;
  const size = Math.max(1, Math.floor(numbersAtOnce / image.reduce((product, n) => product * n, 1)));
  return scope(() =>
    cat(
      overTiles(count, size, (start, length) =>
        measure(first.narrow(0, start, length).to("float64"), second.narrow(0, start, length).to("float64")),
      ),
    ),
  );
}

function overTiles<R>(count: number, size: number, visit: (start: number, length: number) => R): R[] {
  return Array.from({ length: Math.ceil(count / size) }, (_, i) =>
    scope(() => visit(i * size, Math.min(size, count - i * size))),
  );
}
