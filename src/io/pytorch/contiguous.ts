/** Tensors that are views of a storage, with strides of any kind, as elements in row-major order. */
import type { TensorLayout } from "./torch-objects.js";

/** Number of elements. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** One beyond the last element of the storage that the layout reaches, 0 for a tensor without elements. */
export function reachOf({ offset, shape, strides }: TensorLayout): number {
  if (sizeOf(shape) === 0) return 0;
  return shape.reduce((last, n, i) => last + (n - 1) * (strides[i] as number), offset) + 1;
}

/** Whether the elements lie one after another in row-major order. */
export function isContiguous({ shape, strides }: TensorLayout): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i] as number;
  }
  return true;
}

const arrays = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array } as const;

/** The elements of a tensor, `width` bytes each, out of its storage; in memory of their own. */
export function elementsOf(storage: Uint8Array, layout: TensorLayout, width: 1 | 2 | 4 | 8): Uint8Array {
  const { offset, shape } = layout;
  const size = sizeOf(shape);
  if (isContiguous(layout)) return storage.slice(offset * width, (offset + size) * width);
  const ElementArray = arrays[width];
  const from = new ElementArray(storage.buffer as ArrayBuffer, storage.byteOffset, storage.length / width);
  const into = new ElementArray(size);
  copyStrided(from as Uint8Array, into as Uint8Array, layout);
  return new Uint8Array(into.buffer);
}

/** Typed as bytes, true of elements of every width: values are moved, never looked at. */
function copyStrided(from: Uint8Array, into: Uint8Array, { offset, shape, strides }: TensorLayout): void {
  const index = shape.map(() => 0);
  let source = offset;
  for (let i = 0; i < into.length; i++) {
    into[i] = from[source] as number;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const [n, stride] = [shape[axis] as number, strides[axis] as number];
      index[axis] = (index[axis] as number) + 1;
      source += stride;
      if ((index[axis] as number) < n) break;
      index[axis] = 0;
      source -= n * stride;
    }
  }
}
