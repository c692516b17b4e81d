/** Tensors from nothing, from numbers, from chance, and from other tensors. */
import { type Dtype, dtypeCode } from "./dtype.js";
import { native } from "./native.js";
import { operator } from "./operator.js";
import type { Generator } from "./random.js";
import { meetsHost } from "./seal.js";
import { type Shape, Tensor, type TypedArray } from "./tensor.js";

export interface TensorOptions {
  /** Default `float32`. */
  readonly dtype?: Dtype;
  /** Default `cpu`. */
  readonly device?: string;
}

const op = {
  empty: operator("aten::empty.memory_format"),
  zeros: operator("aten::zeros"),
  ones: operator("aten::ones"),
  full: operator("aten::full"),
  arange: operator("aten::arange.start_step"),
  linspace: operator("aten::linspace"),
  emptyLike: operator("aten::empty_like"),
  zerosLike: operator("aten::zeros_like"),
  randn: operator("aten::randn.generator"),
  rand: operator("aten::rand.generator"),
  randint: operator("aten::randint.low_generator"),
  randperm: operator("aten::randperm.generator"),
  cat: operator("aten::cat"),
  stack: operator("aten::stack"),
};

/** dtype, layout, device, as every factory's schema lists them. */
function optionArguments({ dtype = "float32", device = "cpu" }: TensorOptions): [number, undefined, string] {
  return [dtypeCode(dtype), undefined, device];
}

/** Uninitialised memory of `shape`. */
export function empty(shape: Shape, options: TensorOptions = {}): Tensor {
  return op.empty(shape, ...optionArguments(options));
}
export function zeros(shape: Shape, options: TensorOptions = {}): Tensor {
  return op.zeros(shape, ...optionArguments(options));
}
export function ones(shape: Shape, options: TensorOptions = {}): Tensor {
  return op.ones(shape, ...optionArguments(options));
}
export function full(shape: Shape, value: number, options: TensorOptions = {}): Tensor {
  return op.full(shape, value, ...optionArguments(options));
}
/** `start, start + step, ...` below `end`. */
export function arange(start: number, end: number, step = 1, options: TensorOptions = {}): Tensor {
  return op.arange(start, end, step, ...optionArguments(options));
}
/** `count` evenly spaced numbers from `start` to `end`, both included. */
export function linspace(start: number, end: number, count: number, options: TensorOptions = {}): Tensor {
  return op.linspace(start, end, count, ...optionArguments(options));
}
/** Uninitialised, with the shape, dtype, device and memory order of `tensor`. */
export function emptyLike(tensor: Tensor): Tensor {
  return op.emptyLike(tensor);
}
export function zerosLike(tensor: Tensor): Tensor {
  return op.zerosLike(tensor);
}

/** Standard normal draws of `shape`, float32 on the CPU unless `options` say otherwise; they advance `generator`. */
export function randn(shape: Shape, generator: Generator, options: TensorOptions = {}): Tensor {
  meetsHost("a draw");
  return op.randn(shape, generator, ...optionArguments(options));
}
/** Uniform draws in [0, 1). */
export function rand(shape: Shape, generator: Generator, options: TensorOptions = {}): Tensor {
  meetsHost("a draw");
  return op.rand(shape, generator, ...optionArguments(options));
}
/** Uniform whole numbers in [low, high). */
export function randint(
  low: number,
  high: number,
  shape: Shape,
  generator: Generator,
  options: TensorOptions = {},
): Tensor {
  meetsHost("a draw");
  return op.randint(low, high, shape, generator, ...optionArguments({ dtype: "int64", ...options }));
}
/** A uniform permutation of 0 .. n - 1, int64. */
export function randperm(n: number, generator: Generator, options: TensorOptions = {}): Tensor {
  meetsHost("a draw");
  return op.randperm(n, generator, ...optionArguments({ dtype: "int64", ...options }));
}

export function cat(tensors: readonly Tensor[], dim = 0): Tensor {
  return op.cat(tensors, dim);
}
export function stack(tensors: readonly Tensor[], dim = 0): Tensor {
  return op.stack(tensors, dim);
}

type Nested = number | readonly Nested[];

function shapeOf(values: Nested): number[] {
  if (typeof values === "number") return [];
  const first = values[0];
  return first === undefined ? [0] : [values.length, ...shapeOf(first)];
}

function flatten(values: Nested, shape: Shape, into: number[]): void {
  const [length, ...rest] = shape;
  const found = typeof values === "number" ? undefined : values.length;
  if (found !== length)
    throw new TypeError(
      `expected nested arrays of equal lengths, got ${found ?? "a number"} where ${length ?? "a number"} came first`,
    );
  if (typeof values === "number") into.push(values);
  else for (const value of values) flatten(value, rest, into);
}

/** A tensor of nested numbers: `tensor([[1, 2], [3, 4]])`; a bare number gives a scalar. */
export function tensor(values: Nested, options: TensorOptions = {}): Tensor {
  const shape = shapeOf(values);
  const flat: number[] = [];
  flatten(values, shape, flat);
  const exact = fromTypedArray(Float64Array.from(flat), shape);
  const { dtype = "float32", device = "cpu" } = options;
  return device === "cpu" && dtype === "float64" ? exact : exact.toDevice(device, dtype);
}

/** The elements of a typed array, copied, in row-major order; its dtype is the array's. */
export function fromTypedArray(values: TypedArray, shape: Shape): Tensor {
  return fromBytes(values, dtypeOfArray(values), shape);
}

/** Bytes in row-major order as a tensor of `dtype`, copied. */
export function fromBytes(bytes: ArrayBufferView, dtype: Dtype, shape: Shape): Tensor {
  meetsHost("a tensor made of numbers");
  return new Tensor(native().fromBytes(bytes, dtypeCode(dtype), shape));
}

function dtypeOfArray(values: TypedArray): Dtype {
  if (values instanceof Uint8Array) return "uint8";
  if (values instanceof Int8Array) return "int8";
  if (values instanceof Int16Array) return "int16";
  if (values instanceof Int32Array) return "int32";
  if (values instanceof BigInt64Array) return "int64";
  if (values instanceof Float32Array) return "float32";
  return "float64";
}
