/** Tensors in and out of safetensors files; reading maps the file and copies nothing. */
import {
  readSafetensorsHeader,
  type StoredDtype,
  type StoredTensor,
  writeSafetensors,
} from "../io/safetensors.js";
import { fromBytes } from "./create.js";
import type { Dtype } from "./dtype.js";
import { native } from "./native.js";
import { Tensor } from "./tensor.js";

const stored: Record<Dtype, StoredDtype> = {
  uint8: "U8",
  int8: "I8",
  int16: "I16",
  int32: "I32",
  int64: "I64",
  float16: "F16",
  float32: "F32",
  float64: "F64",
  bool: "BOOL",
  bfloat16: "BF16",
};
const dtypes = Object.fromEntries(Object.entries(stored).map(([dtype, code]) => [code, dtype])) as Record<
  StoredDtype,
  Dtype
>;

/** A tensor's bytes as the file format holds them. */
export function toStored(tensor: Tensor): StoredTensor {
  return { dtype: stored[tensor.dtype], shape: tensor.shape, data: tensor.toBytes() };
}

/** A tensor of bytes as a file format holds them, copied. */
export function fromStored({ dtype, shape, data }: StoredTensor): Tensor {
  return fromBytes(data, dtypes[dtype], shape);
}

/** Writes named tensors in the order given. The same content gives the same bytes. */
export function saveTensors(
  path: string,
  tensors: Iterable<readonly [string, Tensor]>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const entries = Array.from(tensors, ([name, tensor]) => [name, toStored(tensor)] as const);
  writeSafetensors(path, entries, metadata);
}

/**
 * The tensors of a file by name. They share one private mapping of it: pages are read when first used, and changing
 * a tensor leaves the file as it is. The mapping lives as long as one of them does.
 *
 * @throws UserError naming the file and the place when it is damaged.
 */
export function loadTensors(path: string): {
  readonly tensors: Map<string, Tensor>;
  readonly metadata: Record<string, string>;
} {
  const { tensors: ranges, metadata } = readSafetensorsHeader(path);
  const file = new Tensor(native().mapFile(path));
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape, begin, end }] of ranges) {
    const bytes = file.slice(0, begin, end);
    const width =
      (end - begin) /
      Math.max(
        1,
        shape.reduce((product, n) => product * n, 1),
      );
    // A file of another writer may place elements off their natural boundary; those bytes are copied.
    const aligned = width > 0 && begin % width !== 0 ? bytes.clone() : bytes;
    tensors.set(name, aligned.viewDtype(dtypes[dtype]).reshape(shape));
  }
  file.dispose();
  return { tensors, metadata };
}
