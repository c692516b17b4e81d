/** Tensors from and to JavaScript, and what they say of themselves. Expected numbers: plain arithmetic. */
import { describe, expect, test } from "vitest";
import {
  arange,
  cat,
  type Dtype,
  fromBytes,
  fromTypedArray,
  full,
  linspace,
  ones,
  stack,
  type TypedArray,
  tensor,
  zeros,
} from "../../src/torch/index.js";

const arrays: readonly [Dtype, TypedArray][] = [
  ["uint8", Uint8Array.of(0, 1, 255)],
  ["int8", Int8Array.of(-128, 0, 127)],
  ["int16", Int16Array.of(-32768, 7, 32767)],
  ["int32", Int32Array.of(-(2 ** 31), 7, 2 ** 31 - 1)],
  ["int64", BigInt64Array.of(-(2n ** 63n), 7n, 2n ** 63n - 1n)],
  ["float32", Float32Array.of(-0, 1.5, Number.POSITIVE_INFINITY)],
  ["float64", Float64Array.of(Math.PI, -1e300, Number.NaN)],
];

describe("creation and round trips", () => {
  test.each(arrays)("%s", (dtype, values) => {
    const made = fromTypedArray(values, [1, 3]);
    expect([made.dtype, made.shape]).toEqual([dtype, [1, 3]]);
    expect(made.toTypedArray()).toEqual(values);
  });

  test("the formats without a typed array go through float32", () => {
    // 1/3 has 8 significant bits in bfloat16 (171 / 512) and 11 in float16 (1365 / 4096).
    expect(tensor([1 / 3, -2], { dtype: "bfloat16" }).toArray()).toEqual([171 / 512, -2]);
    expect(tensor([1 / 3, -2], { dtype: "float16" }).toArray()).toEqual([1365 / 4096, -2]);
    expect(tensor([0, 1, 2], { dtype: "bool" }).toTypedArray()).toEqual(Uint8Array.of(0, 1, 1));
  });

  test("bytes are those of the little-endian format", () => {
    // bfloat16 is the upper half of IEEE 754 single precision: 1 = 3f80, -2 = c000.
    expect(tensor([1, -2], { dtype: "bfloat16" }).toBytes()).toEqual(Uint8Array.of(0x80, 0x3f, 0x00, 0xc0));
    expect(fromBytes(Uint8Array.of(0x80, 0x3f, 0x00, 0xc0), "bfloat16", [2]).toArray()).toEqual([1, -2]);
  });

  test("a view of an array starts where the view starts", () => {
    expect(fromTypedArray(Float32Array.of(1, 2, 3, 4).subarray(2), [2]).toArray()).toEqual([3, 4]);
  });

  test("row-major order whatever the memory order", () => {
    const x = arange(0, 6).reshape([2, 3]);
    expect(x.transpose(0, 1).toArray()).toEqual([0, 3, 1, 4, 2, 5]);
    const image = arange(0, 8).reshape([1, 2, 2, 2]).clone("channelsLast");
    expect(image.strides).toEqual([8, 1, 4, 2]);
    expect(image.toArray()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test("scalars and empty tensors", () => {
    expect([tensor(2.5).shape, tensor(2.5).item()]).toEqual([[], 2.5]);
    expect([tensor([]).shape, tensor([]).toArray()]).toEqual([[0], []]);
    expect(zeros([0, 3]).size).toBe(0);
    expect(() => tensor([1, 2]).item()).toThrow("item() needs a tensor of one element, got float32[2]");
  });

  test("factories", () => {
    expect(full([2], 1.5, { dtype: "float64" }).toTypedArray()).toEqual(Float64Array.of(1.5, 1.5));
    expect(full([2], 3).dtype).toBe("float32");
    expect(arange(1, 2, 0.25).toArray()).toEqual([1, 1.25, 1.5, 1.75]);
    expect(linspace(0, 1, 5).toArray()).toEqual([0, 0.25, 0.5, 0.75, 1]);
    expect(cat([ones([1, 2]), zeros([2, 2])]).toArray()).toEqual([1, 1, 0, 0, 0, 0]);
    expect(stack([ones([2]), zeros([2])], 1).toArray()).toEqual([1, 0, 1, 0]);
  });

  test("bytes that do not fit the shape, and ragged nesting, are refused", () => {
    expect(() => fromTypedArray(Float32Array.of(1, 2, 3), [2, 2])).toThrow(
      "expected 16 bytes for float32[2, 2], got 12",
    );
    expect(() => tensor([[1, 2], [3]])).toThrow("expected nested arrays of equal lengths");
    expect(() => tensor([1, [2]])).toThrow("expected nested arrays of equal lengths");
  });
});

describe("what a tensor says of itself", () => {
  test("shape, rank, size, dim, device, text", () => {
    const x = zeros([2, 3, 4]);
    expect([x.rank, x.size, x.dim(-1), x.dim(0), x.device, `${x}`]).toEqual([
      3,
      24,
      4,
      2,
      "cpu",
      "float32[2, 3, 4]",
    ]);
    expect(() => x.dim(3)).toThrow("expected a dimension of float32[2, 3, 4], got 3");
  });

  test("a disposed tensor says so and may be disposed again", () => {
    const x = zeros([2]);
    x.dispose();
    expect([x.disposed, `${x}`]).toEqual([true, "disposed tensor"]);
    expect(() => x.dispose()).not.toThrow();
    expect(() => x.item()).toThrow(/disposed/);
  });
});
