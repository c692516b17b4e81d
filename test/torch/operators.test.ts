/** Calls through the dispatcher: what is converted, what the defaults are, and how mistakes are reported. */
import { describe, expect, test } from "vitest";
import {
  call,
  conv2d,
  full,
  linear,
  operator,
  operatorMany,
  profile,
  schema,
  type Tensor,
  tensor,
  zeros,
} from "../../src/torch/index.js";

describe("arguments", () => {
  test("undefined takes the schema's default", () => {
    expect(schema("aten::add.Tensor")).toContain("Scalar alpha=1");
    const add = operator("aten::add.Tensor");
    expect(add(tensor([1, 2]), tensor([10, 20])).toArray()).toEqual([11, 22]);
    expect(add(tensor([1, 2]), tensor([10, 20]), undefined).toArray()).toEqual([11, 22]);
    expect(add(tensor([1, 2]), tensor([10, 20]), 0.5).toArray()).toEqual([6, 12]);
  });

  test("optional tensors and numbers", () => {
    const x = tensor([[1, 2]]);
    const w = tensor([[3, 4]]);
    expect(linear(x, w, null).toArray()).toEqual([11]);
    expect(linear(x, w, tensor([0.5])).toArray()).toEqual([11.5]);
    expect(tensor([-2, 0, 2]).clamp(-1).toArray()).toEqual([-1, 0, 2]);
    expect(tensor([-2, 0, 2]).clamp(undefined, 1).toArray()).toEqual([-2, 0, 1]);
  });

  test("lists: of integers, one number for several, of tensors, of optional tensors", () => {
    expect(zeros([1, 2, 1]).reshape([2]).shape).toEqual([2]);
    expect(conv2d(full([1, 1, 3, 3], 1), full([1, 1, 3, 3], 1), null, { padding: 1 }).toArray()).toEqual([
      4, 6, 4, 6, 9, 6, 4, 6, 4,
    ]);
    const x = tensor([
      [1, 2],
      [3, 4],
    ]);
    const picked = call("aten::index.Tensor", x, [null, tensor([1], { dtype: "int64" })]) as Tensor;
    expect(picked.toArray()).toEqual([2, 4]);
    const doubled = call("aten::_foreach_mul.Scalar", [x, x.neg()], 2) as Tensor[];
    expect(doubled.map((t) => t.toArray())).toEqual([
      [2, 4, 6, 8],
      [-2, -4, -6, -8],
    ]);
    const scaled = call("aten::_foreach_mul.ScalarList", [x, x], [0.5, 2]) as Tensor[];
    expect(scaled.map((t) => t.select(0, 0).toArray())).toEqual([
      [0.5, 1],
      [2, 4],
    ]);
  });

  test("a whole number in a Scalar slot is an integer, as in Python", () => {
    expect(tensor([1, 2], { dtype: "int64" }).add(2).dtype).toBe("int64");
    expect(tensor([1, 2], { dtype: "int64" }).add(0.5).dtype).toBe("float32");
    expect(
      tensor([1], { dtype: "int64" })
        .mul(2 ** 40)
        .item(),
    ).toBe(2 ** 40);
  });

  test("results: several tensors, lists, numbers, truth values, nothing", () => {
    const x = tensor([1, 2, 3, 4]);
    const [deviation, mean] = call("aten::std_mean", x, false) as Tensor[];
    expect([mean?.item(), deviation?.item()]).toEqual([2.5, expect.closeTo(Math.sqrt(1.25), 6)]);
    expect(x.split(3, 0).map((t) => t.toArray())).toEqual([[1, 2, 3], [4]]);
    expect(operatorMany("aten::unbind.int")(x).map((t) => t.item())).toEqual([1, 2, 3, 4]);
    expect(call("aten::is_same_size", x, x)).toBe(true);
    expect(call("aten::size.int", x, 0)).toBe(4);
    expect(call("aten::_foreach_zero_", [x])).toBeUndefined();
    expect(x.toArray()).toEqual([0, 0, 0, 0]);
  });
});

/** The message of what `run` throws. */
function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("nothing was thrown");
}

const x = zeros([2, 3]);
const gone = zeros([2]);
gone.dispose();
// Each is a mistake that type checking may not catch.
const mistakes: readonly [what: string, run: () => unknown, expected: RegExp][] = [
  ["shape", () => x.matmul(zeros([4, 5])), /^aten::matmul: .*\(float32\[2, 3\], float32\[4, 5\]\)$/],
  ["broadcast", () => x.add(zeros([2])), /^aten::add\.Tensor: .*\(float32\[2, 3\], float32\[2\]\)$/],
  ["dtype", () => x.matmul(zeros([3, 1], { dtype: "float64" })), /^aten::matmul: .*float64\[3, 1\]\)$/],
  [
    "list of tensors",
    () => call("aten::cat", [x, zeros([2, 2])]),
    /\(\[float32\[2, 3\], float32\[2, 2\]\]\)$/,
  ],
  ["dimension", () => x.select(5, 0), /^aten::select\.int: .*\(float32\[2, 3\]\)$/],
  ["missing", () => call("aten::add.Tensor", x), /^aten::add\.Tensor: argument "other": is missing$/],
  ["too many", () => call("aten::relu", x, 1, 2), /^aten::relu: takes 1 arguments, got 3$/],
  ["far too many", () => call("aten::relu", ...new Array(60).fill(x)), /^more than 40 arguments$/],
  ["disposed", () => x.add(gone), /^aten::add\.Tensor: argument "other": the tensor was disposed/],
  ["disposed in a list", () => call("aten::cat", [x, gone]), /^aten::cat: argument "tensors": .*disposed/],
  ["number for a tensor", () => call("aten::relu", 3), /^aten::relu: argument "self": expected a tensor$/],
  ["text for a tensor", () => call("aten::relu", "x"), /^aten::relu: argument "self": expected a tensor$/],
  [
    "any object for a tensor",
    () => call("aten::relu", { handle: {} } as unknown as Tensor),
    /expected a tensor$/,
  ],
  [
    "text for a number",
    () => call("aten::select.int", x, "a", 0),
    /argument "dim": expected a whole number$/,
  ],
  ["fraction for an integer", () => x.select(0.5, 0), /argument "dim": expected a whole number, got 0\.5/],
  ["infinity for an integer", () => x.select(Number.POSITIVE_INFINITY, 0), /expected a whole number/],
  ["number for a truth value", () => call("aten::sum.dim_IntList", x, [0], 1), /expected true or false$/],
  ["text for a list", () => call("aten::reshape", x, "6"), /argument "shape": expected an array$/],
  ["unknown operator", () => call("aten::ad", x), /^libtorch has no operator "aten::ad"$/],
  ["unknown overload", () => schema("aten::add.Tenso"), /^libtorch has no operator "aten::add\.Tenso"$/],
  ["device", () => x.toDevice("gpu"), /^aten::to\.device: argument "device": .*gpu$/],
  ["view dtype", () => zeros([3], { dtype: "uint8" }).viewDtype("float32"), /^aten::view\.dtype: /],
];

describe("mistakes are one-line errors that name the operator and the shapes", () => {
  test.each(mistakes)("%s", (_what, run, expected) => {
    const message = messageOf(run);
    expect(message).toMatch(expected);
    expect(message).not.toContain("\n");
  });

  test("and the bridge goes on working after each", () => {
    expect(x.add(1).sum().item()).toBe(6);
  });

  test("a null where a tensor must be, and handles of the wrong kind", () => {
    expect(messageOf(() => call("aten::relu", null))).toBe('aten::relu: argument "self": is missing');
    expect(messageOf(() => call("aten::zeros", [2], 6, undefined, 3))).toMatch(/expected a string$/);
    expect(messageOf(() => call("aten::randn.generator", [2], x))).toMatch(
      /argument "generator": expected a generator$/,
    );
  });
});

test("a profile counts calls and gives self times, the slowest first", () => {
  const w = zeros([3, 3]).requireGrad();
  const { result, rows } = profile(() => {
    const y = x.matmul(w).sigmoid();
    y.sum().backward();
    return y;
  });
  expect(result.shape).toEqual([2, 3]);
  expect(rows.find(({ name }) => name === "aten::matmul")?.calls).toBe(1);
  expect(rows.some(({ name }) => /MmBackward/.test(name))).toBe(true);
  const seconds = rows.map((row) => row.seconds);
  expect(seconds).toEqual([...seconds].sort((a, b) => b - a));
  expect(seconds.every((s) => s >= 0)).toBe(true);
  expect(() => profile(() => profile(() => 0))).toThrow("a profile is already being taken");
  expect(profile(() => 5).result).toBe(5);
});
