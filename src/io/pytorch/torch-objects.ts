/** The few PyTorch objects that a state dict is pickled as, and the callables that make them: the allow-list. */
import type { StoredDtype } from "../safetensors.js";
import { Global } from "./unpickler.js";

/** An element type of PyTorch: bytes of one element, and its name here where it has one. */
interface Element {
  readonly bytes: number;
  readonly dtype?: StoredDtype;
}

/** By the name of the storage class in module `torch`. */
const elements = new Map<string, Element>([
  ["DoubleStorage", { bytes: 8, dtype: "F64" }],
  ["FloatStorage", { bytes: 4, dtype: "F32" }],
  ["HalfStorage", { bytes: 2, dtype: "F16" }],
  ["BFloat16Storage", { bytes: 2, dtype: "BF16" }],
  ["LongStorage", { bytes: 8, dtype: "I64" }],
  ["IntStorage", { bytes: 4, dtype: "I32" }],
  ["ShortStorage", { bytes: 2, dtype: "I16" }],
  ["CharStorage", { bytes: 1, dtype: "I8" }],
  ["ByteStorage", { bytes: 1, dtype: "U8" }],
  ["UntypedStorage", { bytes: 1, dtype: "U8" }],
  ["BoolStorage", { bytes: 1, dtype: "BOOL" }],
  ["ComplexFloatStorage", { bytes: 8 }],
  ["ComplexDoubleStorage", { bytes: 16 }],
  ["QInt8Storage", { bytes: 1 }],
  ["QUInt8Storage", { bytes: 1 }],
  ["QInt32Storage", { bytes: 4 }],
]);

/** The storage class of an element type. */
export function storageType(dtype: StoredDtype): string {
  for (const [type, element] of elements) if (element.dtype === dtype) return type;
  throw new Error(`no storage class for ${dtype}`);
}

/** Elements that lie one after another in the file. */
export class StorageReference {
  /** The class in module `torch`, `FloatStorage`. */
  readonly type: string;
  readonly key: string;
  /** Number of elements, counted from `first` of the storage in the file. */
  readonly length: number;
  readonly first: number;

  constructor(type: string, key: string, extent: { readonly length: number; readonly first: number }) {
    this.type = type;
    this.key = key;
    this.length = extent.length;
    this.first = extent.first;
  }

  /** Bytes of an element; undefined for a class that is not known. */
  get elementBytes(): number | undefined {
    return elements.get(this.type)?.bytes;
  }

  get dtype(): StoredDtype | undefined {
    return elements.get(this.type)?.dtype;
  }
}

/** A tensor as a view of a storage; offset and strides in elements. */
export interface TensorLayout {
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

export class TensorReference {
  readonly storage: StorageReference;
  readonly layout: TensorLayout;
  constructor(storage: StorageReference, layout: TensorLayout) {
    this.storage = storage;
    this.layout = layout;
  }
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isCount);
}

/** `(storage, offset, shape, strides, ...)`; what follows says how PyTorch would differentiate. */
function rebuildTensor([storage, offset, shape, strides]: readonly unknown[]): TensorReference | undefined {
  if (!(storage instanceof StorageReference) || !isCount(offset)) return undefined;
  if (!isCounts(shape) || !isCounts(strides) || shape.length !== strides.length) return undefined;
  return new TensorReference(storage, { offset, shape, strides });
}

/** `collections.OrderedDict()`, and of pairs as Python 2 pickles it. */
function orderedDict([pairs = []]: readonly unknown[]): Map<unknown, unknown> | undefined {
  if (!Array.isArray(pairs) || !pairs.every((pair) => Array.isArray(pair) && pair.length === 2))
    return undefined;
  return new Map(pairs as [unknown, unknown][]);
}

const tensorItself = ([tensor]: readonly unknown[]): unknown =>
  tensor instanceof TensorReference ? tensor : undefined;

/** What may be made; see `Unpickling.makers`. */
export const makers: ReadonlyMap<string, (given: readonly unknown[]) => unknown> = new Map([
  ["collections.OrderedDict", orderedDict],
  ["torch.Size", ([sizes]: readonly unknown[]) => (isCounts(sizes) ? sizes : undefined)],
  ["torch._utils._rebuild_tensor", rebuildTensor],
  ["torch._utils._rebuild_tensor_v2", rebuildTensor],
  ["torch._utils._rebuild_parameter", tensorItself],
  ["torch._utils._rebuild_parameter_with_state", tensorItself],
  ["torch.nn.parameter.Parameter", tensorItself],
  [
    "torch.storage.TypedStorage",
    ([storage]: readonly unknown[]) => (storage instanceof StorageReference ? storage : undefined),
  ],
]);

/**
 * The storage that a persistent id stands for: `('storage', class, key, device, length)` and in the legacy format
 * also `(key of the view, first, length)` or None. Anything else is no storage.
 */
export function storageOfId(id: unknown): StorageReference | undefined {
  if (!Array.isArray(id)) return undefined;
  const [kind, type, key, , length, view] = id as unknown[];
  if (kind !== "storage" || !(type instanceof Global) || typeof key !== "string") return undefined;
  const className = type.name.split(".").at(-1) as string;
  if (!type.name.startsWith("torch.") || !isCount(length)) return undefined;
  if (!Array.isArray(view)) return new StorageReference(className, key, { length, first: 0 });
  const [, first, viewLength] = view as unknown[];
  if (!isCount(first) || !isCount(viewLength)) return undefined;
  return new StorageReference(className, key, { length: viewLength, first });
}
