/** Tensors: what one says of itself, and the operators as methods that chain. */
import { type Dtype, dtypeCode, dtypeName } from "./dtype.js";
import { type Handle, native } from "./native.js";
import { operator, operatorMany, wrapWith } from "./operator.js";
import { enterScope, isReleased, release } from "./scope.js";
import { meetsHost } from "./seal.js";

export type Shape = readonly number[];
/** Typed arrays that hold a tensor's elements. */
export type TypedArray =
  | Uint8Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigInt64Array;
/** How a tensor's dimensions lie in memory. Images are channels-last: logical [B, C, H, W], C fastest. */
export type MemoryFormat = "contiguous" | "preserve" | "channelsLast";

const formats: Record<MemoryFormat, number> = { contiguous: 0, preserve: 1, channelsLast: 2 };

const op = {
  addTensor: operator("aten::add.Tensor"),
  addScalar: operator("aten::add.Scalar"),
  subTensor: operator("aten::sub.Tensor"),
  subScalar: operator("aten::sub.Scalar"),
  rsub: operator("aten::rsub.Scalar"),
  mulTensor: operator("aten::mul.Tensor"),
  mulScalar: operator("aten::mul.Scalar"),
  divTensor: operator("aten::div.Tensor"),
  divScalar: operator("aten::div.Scalar"),
  pow: operator("aten::pow.Tensor_Scalar"),
  neg: operator("aten::neg"),
  reciprocal: operator("aten::reciprocal"),
  square: operator("aten::square"),
  sqrt: operator("aten::sqrt"),
  rsqrt: operator("aten::rsqrt"),
  exp: operator("aten::exp"),
  expm1: operator("aten::expm1"),
  log: operator("aten::log"),
  log1p: operator("aten::log1p"),
  sin: operator("aten::sin"),
  cos: operator("aten::cos"),
  tanh: operator("aten::tanh"),
  erfinv: operator("aten::erfinv"),
  sigmoid: operator("aten::sigmoid"),
  softplus: operator("aten::softplus"),
  silu: operator("aten::silu"),
  abs: operator("aten::abs"),
  sign: operator("aten::sign"),
  round: operator("aten::round"),
  floor: operator("aten::floor"),
  ceil: operator("aten::ceil"),
  clamp: operator("aten::clamp"),
  remainder: operator("aten::remainder.Scalar"),
  minimumTensor: operator("aten::minimum"),
  maximumTensor: operator("aten::maximum"),
  sumAll: operator("aten::sum"),
  sumDims: operator("aten::sum.dim_IntList"),
  meanAll: operator("aten::mean"),
  meanDims: operator("aten::mean.dim"),
  varDims: operator("aten::var.correction"),
  amax: operator("aten::amax"),
  amin: operator("aten::amin"),
  argmax: operator("aten::argmax"),
  logsumexp: operator("aten::logsumexp"),
  softmax: operator("aten::softmax.int"),
  logSoftmax: operator("aten::log_softmax.int"),
  cumsum: operator("aten::cumsum"),
  matmul: operator("aten::matmul"),
  reshape: operator("aten::reshape"),
  viewDtype: operator("aten::view.dtype"),
  permute: operator("aten::permute"),
  transpose: operator("aten::transpose.int"),
  unsqueeze: operator("aten::unsqueeze"),
  squeeze: operator("aten::squeeze.dim"),
  expand: operator("aten::expand"),
  narrow: operator("aten::narrow"),
  select: operator("aten::select.int"),
  slice: operator("aten::slice.Tensor"),
  indexSelect: operator("aten::index_select"),
  gather: operator("aten::gather"),
  flip: operator("aten::flip"),
  rot90: operator("aten::rot90"),
  toDtype: operator("aten::to.dtype"),
  toDevice: operator("aten::to.device"),
  clone: operator("aten::clone"),
  detach: operator("aten::detach"),
  contiguous: operator("aten::contiguous"),
  eqTensor: operator("aten::eq.Tensor"),
  eqScalar: operator("aten::eq.Scalar"),
  ltTensor: operator("aten::lt.Tensor"),
  ltScalar: operator("aten::lt.Scalar"),
  geTensor: operator("aten::ge.Tensor"),
  geScalar: operator("aten::ge.Scalar"),
  where: operator("aten::where.self"),
  isFinite: operator("aten::isfinite"),
  all: operator("aten::all"),
  copy_: operator("aten::copy_"),
  addTensor_: operator("aten::add_.Tensor"),
  mulTensor_: operator("aten::mul_.Tensor"),
  mulScalar_: operator("aten::mul_.Scalar"),
  zero_: operator("aten::zero_"),
  split: operatorMany("aten::split.Tensor"),
};

/**
 * A libtorch tensor. Methods are operators and return new tensors (a trailing underscore changes the tensor itself).
 * It is freed at the end of the `scope` it was made in, by `dispose()`, or when it is collected.
 */
export class Tensor {
  /** @internal Changes when the tensor is freed. */
  handle: Handle;
  #kept = false;
  #shape: Shape | undefined;
  #dtype: Dtype | undefined;

  /** @internal */
  constructor(handle: Handle) {
    this.handle = handle;
    enterScope(this);
  }

  // ---- what it is

  get shape(): Shape {
    this.#shape ??= native().shape(this.handle);
    return this.#shape;
  }

  get dtype(): Dtype {
    this.#dtype ??= dtypeName(native().dtype(this.handle));
    return this.#dtype;
  }

  /** `cpu`, `cuda:0`, ... */
  get device(): string {
    return native().device(this.handle);
  }

  get strides(): Shape {
    return native().strides(this.handle);
  }

  /** Number of dimensions. */
  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, n) => product * n, 1);
  }

  /** Length of dimension `i`, counted from the end where negative. */
  dim(i: number): number {
    const length = this.shape.at(i);
    if (length === undefined) throw new RangeError(`expected a dimension of ${this}, got ${i}`);
    return length;
  }

  /** `float32[2, 3]` */
  toString(): string {
    return this.disposed ? "disposed tensor" : native().describe(this.handle);
  }

  // ---- memory

  get kept(): boolean {
    return this.#kept;
  }

  get disposed(): boolean {
    return isReleased(this);
  }

  /** No scope frees it from now on; `dispose()` or the collector does. */
  keep(): this {
    this.#kept = true;
    return this;
  }

  dispose(): void {
    if (!this.disposed) release([this]);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  // ---- elements

  /** The single element of a tensor of one element. Waits for the device. */
  item(): number {
    meetsHost("a number read from a tensor");
    return native().item(this.handle);
  }

  /** All elements in row-major order, in the typed array of the dtype (bfloat16 and float16 as float32, bool as 0 and 1). */
  toTypedArray(): TypedArray {
    const { dtype } = this;
    meetsHost("numbers read from a tensor");
    if (dtype === "bfloat16" || dtype === "float16")
      return new Float32Array(native().toBytes(this.to("float32").handle));
    const buffer = native().toBytes(this.handle);
    switch (dtype) {
      case "uint8":
      case "bool":
        return new Uint8Array(buffer);
      case "int8":
        return new Int8Array(buffer);
      case "int16":
        return new Int16Array(buffer);
      case "int32":
        return new Int32Array(buffer);
      case "int64":
        return new BigInt64Array(buffer);
      case "float32":
        return new Float32Array(buffer);
      case "float64":
        return new Float64Array(buffer);
      default:
        return dtype satisfies never;
    }
  }

  /** All elements in row-major order, as numbers. */
  toArray(): number[] {
    return Array.from(this.toTypedArray() as ArrayLike<number | bigint>, Number);
  }

  /** The raw bytes in row-major order. */
  toBytes(): Uint8Array {
    return new Uint8Array(native().toBytes(this.handle));
  }

  // ---- differentiation

  get requiresGrad(): boolean {
    return native().requiresGrad(this.handle);
  }

  /** Makes a leaf collect gradients (or stop). */
  requireGrad(on: "on" | "off" = "on"): this {
    native().setRequiresGrad(this.handle, on === "on");
    return this;
  }

  /** What `backward` has accumulated, or null. */
  get grad(): Tensor | null {
    const gradient = native().gradient(this.handle);
    return gradient ? new Tensor(gradient) : null;
  }

  /** Accumulates d(this)/d(leaf) into every leaf it depends on; `this` must be a scalar unless `gradient` is given. */
  backward(
    options: {
      readonly gradient?: Tensor;
      readonly retainGraph?: boolean;
      readonly createGraph?: boolean;
    } = {},
  ): void {
    const { gradient, createGraph = false, retainGraph = createGraph } = options;
    native().backward([this.handle], gradient ? [gradient.handle] : null, retainGraph, createGraph);
  }

  /** The same numbers outside the graph. */
  detach(): Tensor {
    return op.detach(this);
  }

  // ---- arithmetic, elementwise with broadcasting

  add(other: Tensor | number): Tensor {
    return typeof other === "number" ? op.addScalar(this, other) : op.addTensor(this, other);
  }
  sub(other: Tensor | number): Tensor {
    return typeof other === "number" ? op.subScalar(this, other) : op.subTensor(this, other);
  }
  /** `other - this` */
  rsub(other: number): Tensor {
    return op.rsub(this, other);
  }
  mul(other: Tensor | number): Tensor {
    return typeof other === "number" ? op.mulScalar(this, other) : op.mulTensor(this, other);
  }
  div(other: Tensor | number): Tensor {
    return typeof other === "number" ? op.divScalar(this, other) : op.divTensor(this, other);
  }
  pow(exponent: number): Tensor {
    return op.pow(this, exponent);
  }
  neg(): Tensor {
    return op.neg(this);
  }
  /** `1 / this` */
  reciprocal(): Tensor {
    return op.reciprocal(this);
  }
  square(): Tensor {
    return op.square(this);
  }
  sqrt(): Tensor {
    return op.sqrt(this);
  }
  /** `1 / sqrt(this)` */
  rsqrt(): Tensor {
    return op.rsqrt(this);
  }
  exp(): Tensor {
    return op.exp(this);
  }
  /** `exp(this) - 1` without cancellation near 0. */
  expm1(): Tensor {
    return op.expm1(this);
  }
  log(): Tensor {
    return op.log(this);
  }
  /** `log(1 + this)` without cancellation near 0. */
  log1p(): Tensor {
    return op.log1p(this);
  }
  sin(): Tensor {
    return op.sin(this);
  }
  cos(): Tensor {
    return op.cos(this);
  }
  tanh(): Tensor {
    return op.tanh(this);
  }
  /** The inverse of the error function. */
  erfinv(): Tensor {
    return op.erfinv(this);
  }
  /** `1 / (1 + exp(-this))` */
  sigmoid(): Tensor {
    return op.sigmoid(this);
  }
  /** `log(1 + exp(this))`, exact: libtorch's own turns into the identity above 20, an error of 2e-9. */
  softplus(): Tensor {
    return op.softplus(this, 1, 60);
  }
  /** `this * sigmoid(this)`, also called swish */
  silu(): Tensor {
    return op.silu(this);
  }
  abs(): Tensor {
    return op.abs(this);
  }
  sign(): Tensor {
    return op.sign(this);
  }
  /** To the nearest integer, halves to even. */
  round(): Tensor {
    return op.round(this);
  }
  floor(): Tensor {
    return op.floor(this);
  }
  ceil(): Tensor {
    return op.ceil(this);
  }
  clamp(low: number | undefined, high?: number): Tensor {
    return op.clamp(this, low, high);
  }
  /** The remainder with the sign of the divisor. */
  remainder(divisor: number): Tensor {
    return op.remainder(this, divisor);
  }
  minimum(other: Tensor): Tensor {
    return op.minimumTensor(this, other);
  }
  maximum(other: Tensor): Tensor {
    return op.maximumTensor(this, other);
  }

  // ---- reductions

  /** Over all elements, or over `dims`. */
  sum(dims?: readonly number[], options: { readonly keepDims?: boolean } = {}): Tensor {
    return dims ? op.sumDims(this, dims, options.keepDims ?? false) : op.sumAll(this);
  }
  mean(dims?: readonly number[], options: { readonly keepDims?: boolean } = {}): Tensor {
    return dims ? op.meanDims(this, dims, options.keepDims ?? false) : op.meanAll(this);
  }
  /** Variance over `dims` (all where not given), divided by N - correction. */
  variance(
    dims?: readonly number[],
    options: { readonly keepDims?: boolean; readonly correction?: 0 | 1 } = {},
  ): Tensor {
    return op.varDims(this, dims ?? null, options.correction ?? 1, options.keepDims ?? false);
  }
  max(dims: readonly number[] = []): Tensor {
    return op.amax(this, dims);
  }
  min(dims: readonly number[] = []): Tensor {
    return op.amin(this, dims);
  }
  argmax(dim: number): Tensor {
    return op.argmax(this, dim);
  }
  logSumExp(dims: readonly number[]): Tensor {
    return op.logsumexp(this, dims);
  }
  softmax(dim: number): Tensor {
    return op.softmax(this, dim);
  }
  logSoftmax(dim: number): Tensor {
    return op.logSoftmax(this, dim);
  }
  cumulativeSum(dim: number): Tensor {
    return op.cumsum(this, dim);
  }
  matmul(other: Tensor): Tensor {
    return op.matmul(this, other);
  }

  // ---- shape

  reshape(shape: Shape): Tensor {
    return op.reshape(this, shape);
  }
  /** The same bytes read as another dtype. */
  viewDtype(dtype: Dtype): Tensor {
    return op.viewDtype(this, dtypeCode(dtype));
  }
  /** All dimensions from `start` on as one. */
  flatten(start = 0): Tensor {
    return op.reshape(this, [...this.shape.slice(0, start), -1]);
  }
  permute(dims: readonly number[]): Tensor {
    return op.permute(this, dims);
  }
  transpose(a: number, b: number): Tensor {
    return op.transpose(this, a, b);
  }
  unsqueeze(dim: number): Tensor {
    return op.unsqueeze(this, dim);
  }
  squeeze(dim: number): Tensor {
    return op.squeeze(this, dim);
  }
  /** Broadcasts to `shape` without copying; -1 leaves a dimension as it is. */
  expand(shape: Shape): Tensor {
    return op.expand(this, shape);
  }
  narrow(dim: number, start: number, length: number): Tensor {
    return op.narrow(this, dim, start, length);
  }
  select(dim: number, index: number): Tensor {
    return op.select(this, dim, index);
  }
  slice(dim: number, start: number, end?: number, step = 1): Tensor {
    return op.slice(this, dim, start, end, step);
  }
  indexSelect(dim: number, index: Tensor): Tensor {
    return op.indexSelect(this, dim, index);
  }
  gather(dim: number, index: Tensor): Tensor {
    return op.gather(this, dim, index);
  }
  /** Pieces of `length` along `dim`, the last one shorter where it does not divide. */
  split(length: number, dim: number): Tensor[] {
    return op.split(this, length, dim);
  }
  flip(dims: readonly number[]): Tensor {
    return op.flip(this, dims);
  }
  /** Rotates by `quarters` of a turn in the plane of two dimensions. */
  rotate90(quarters: number, dims: readonly [number, number]): Tensor {
    return op.rot90(this, quarters, dims);
  }

  // ---- copies and conversions

  /** As another dtype; itself where it already is of it. */
  to(dtype: Dtype): Tensor {
    return op.toDtype(this, dtypeCode(dtype));
  }
  /** On another device, in another dtype where given. */
  toDevice(device: string, dtype: Dtype = this.dtype): Tensor {
    meetsHost("a tensor moved between devices");
    return op.toDevice(this, device, dtypeCode(dtype));
  }
  /**
   * A copy. `clone("channelsLast")` really reorders memory; `contiguous` leaves images of one channel and 1x1 kernels
   * as they are, and convolutions then run in the slow layout.
   */
  clone(format: MemoryFormat = "preserve"): Tensor {
    return op.clone(this, formats[format]);
  }
  contiguous(format: MemoryFormat = "contiguous"): Tensor {
    return op.contiguous(this, formats[format]);
  }

  // ---- comparisons

  eq(other: Tensor | number): Tensor {
    return typeof other === "number" ? op.eqScalar(this, other) : op.eqTensor(this, other);
  }
  lt(other: Tensor | number): Tensor {
    return typeof other === "number" ? op.ltScalar(this, other) : op.ltTensor(this, other);
  }
  ge(other: Tensor | number): Tensor {
    return typeof other === "number" ? op.geScalar(this, other) : op.geTensor(this, other);
  }
  /** `this ? yes : no`, elementwise; `this` is of dtype bool. */
  where(yes: Tensor, no: Tensor): Tensor {
    return op.where(this, yes, no);
  }
  isFinite(): Tensor {
    return op.isFinite(this);
  }
  all(): Tensor {
    return op.all(this);
  }

  // ---- in place

  copy_(source: Tensor): this {
    return this.#changed(op.copy_(this, source));
  }
  add_(other: Tensor): this {
    return this.#changed(op.addTensor_(this, other));
  }
  mul_(other: Tensor | number): this {
    return this.#changed(typeof other === "number" ? op.mulScalar_(this, other) : op.mulTensor_(this, other));
  }
  zero_(): this {
    return this.#changed(op.zero_(this));
  }

  /** The operator hands back a second handle of the same tensor, which nobody needs. */
  #changed(again: Tensor): this {
    again.dispose();
    return this;
  }
}

wrapWith((handle) => new Tensor(handle));
