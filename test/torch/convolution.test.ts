/** The 3x3 convolution with its residual against libtorch's own in float64: outputs, gradients, gradients of gradients. */
import { afterEach, describe, expect, test } from "vitest";
import {
  autocast,
  conv2d,
  type FloatDtype,
  Generator,
  grad,
  noGrad,
  ones,
  operator,
  randn,
  setThreads,
  type Tensor,
  threads,
} from "../../src/torch/index.js";

const libtorchs = operator("aten::conv2d");

interface Inputs {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly residual: Tensor;
}

type Sizes = readonly [
  images: number,
  channelsIn: number,
  height: number,
  width: number,
  channelsOut: number,
];

const names = ["x", "weight", "bias", "residual"] as const;

/** Numbers that float32 and bfloat16 hold alike, so that all precisions compute the same problem. */
function draw([n, c, h, w, k]: Sizes, seed = 1): Inputs {
  const generator = new Generator({ seed });
  const normal = (shape: readonly number[]) => randn(shape, generator).to("bfloat16").to("float64");
  return {
    x: normal([n, c, h, w]).clone("channelsLast"),
    weight: normal([k, c, 3, 3]).clone("channelsLast"),
    bias: normal([k]),
    residual: normal([n, k, h, w]).clone("channelsLast"),
  };
}

function mapInputs(inputs: Inputs, f: (t: Tensor) => Tensor): Inputs {
  return { x: f(inputs.x), weight: f(inputs.weight), bias: f(inputs.bias), residual: f(inputs.residual) };
}

const leaf = (t: Tensor) => t.detach().clone("preserve").requireGrad();
const leavesOf = (inputs: Inputs, dtype: FloatDtype) => mapInputs(inputs, (t) => leaf(t.to(dtype)));

type Run = (inputs: Inputs) => Tensor;
const ours: Run = ({ x, weight, bias, residual }) => conv2d(x, weight, bias, { padding: 1, residual });
const reference: Run = ({ x, weight, bias, residual }) => libtorchs(x, weight, bias, 1, 1).add(residual);

/** Output and the gradients of `sum(output * cotangent)` in that order of `names`. */
function all(run: Run, inputs: Inputs, cotangent: Tensor): readonly Tensor[] {
  const y = run(inputs);
  const gradients = grad(
    [y],
    names.map((name) => inputs[name]),
    { gradients: [cotangent.to(y.dtype)] },
  );
  return [y, ...(gradients as readonly Tensor[])];
}

/** Root of the mean squared difference, relative to that of `b`. */
function distance(a: Tensor, b: Tensor): number {
  const exact = b.to("float64");
  return Math.sqrt(a.to("float64").sub(exact).square().mean().div(exact.square().mean()).item());
}

const before = threads();
afterEach(() => setThreads(before));

const sizes: readonly Sizes[] = [
  [3, 16, 7, 7, 48],
  [1, 64, 5, 9, 32],
  [2, 48, 4, 6, 16],
  [2, 32, 14, 14, 80],
  [5, 16, 6, 13, 144],
];

describe.each(sizes)("%i images [%i, %i, %i] to %i channels", (...size) => {
  const inputs = draw(size);
  const cotangent = draw(size, 2).residual;
  const exact = all(reference, leavesOf(inputs, "float64"), cotangent);

  // Three times libtorch's own error. In bfloat16 theirs is one rounding of the result, of relative size d; here transformed images and
  // weights are rounded as well, which for independent numbers makes 2.6 d of an output and 2.4 d of a weight's gradient
  // (roundings of the 16 products carried through the transforms). In float32 either error is one of a few sums, whose order differs.
  test.each(["float32", "bfloat16"] as const)("in %s, errors as of libtorch's", (dtype) => {
    const found = all(ours, leavesOf(inputs, dtype), cotangent);
    const theirs = all(reference, leavesOf(inputs, dtype), cotangent);
    found.forEach((tensor, i) => {
      const expected = exact[i] as Tensor;
      expect(tensor.dtype).toBe(dtype);
      expect(tensor.shape).toEqual(expected.shape);
      // An error of theirs that happens to be none at all is not asked for.
      const least = dtype === "float32" ? 1e-7 : 1.6e-3;
      const allowed = 3 * Math.max(distance(theirs[i] as Tensor, expected), least);
      expect(distance(tensor, expected), ["y", ...names][i]).toBeLessThan(allowed);
    });
  });
});

test("under autocast images are rounded to bfloat16, and weights and their gradients are not", () => {
  const size = [2, 32, 8, 8, 32] as const;
  const inputs = draw(size);
  const cotangent = draw(size, 2).residual;
  const run: Run = (at) =>
    autocast({ dtype: "bfloat16" }, () =>
      ours({ ...at, x: at.x.to("bfloat16"), residual: at.residual.to("bfloat16") }),
    );
  const found = all(run, leavesOf(inputs, "float32"), cotangent);
  expect(found.map(({ dtype }) => dtype)).toEqual(["bfloat16", "float32", "float32", "float32", "float32"]);
  const exact = all(reference, leavesOf(inputs, "float64"), cotangent);
  // 2^-9 is the largest relative error of one rounding; 2.6 of them as above, of uniform size between 0 and 2^-8 of the leading bit.
  found.forEach((tensor, i) => {
    expect(distance(tensor, exact[i] as Tensor)).toBeLessThan(2.6 * 2 ** -9);
  });
  // The sum that the bias gets is never rounded: 128 numbers of 8 bits in float32.
  expect(distance(found[3] as Tensor, exact[3] as Tensor)).toBeLessThan(1e-6);
});

describe("what is wider than the products is not rounded to them", () => {
  // Whole numbers from -2 to 2 and kernels of -4, 0 and 4: transformed (to at most 8 in x and 9 of the kernel) they are exact in
  // bfloat16, and so are sums of products in float32. What they are added to has 12 bits behind the point.
  const generator = new Generator({ seed: 7 });
  const whole = (shape: readonly number[], most: number) =>
    randn(shape, generator).round().clamp(-most, most).to("float64");
  const inputs: Inputs = {
    x: whole([2, 32, 6, 7], 2).clone("channelsLast"),
    weight: whole([48, 32, 3, 3], 1).mul(4).clone("channelsLast"),
    bias: whole([48], 9),
    residual: whole([2, 48, 6, 7], 9)
      .mul(1 + 2 ** -12)
      .clone("channelsLast"),
  };
  const exact = reference(inputs).toArray();
  const under = (run: Run, at: Inputs) => autocast({ dtype: "bfloat16" }, () => run(at));
  const single = mapInputs(inputs, (t) => t.to("float32"));

  test.each([
    ["images of float32", single],
    ["images of bfloat16, a residual of float32", { ...single, x: single.x.to("bfloat16") }],
  ])("%s", (_, at) => {
    const found = noGrad(() => under(ours, at));
    expect(found.dtype).toBe("float32");
    expect(found.toArray()).toEqual(exact);
    const recorded = all((leaves) => under(ours, leaves), mapInputs(at, leaf), ones([2, 48, 6, 7]));
    expect(recorded.map(({ dtype }) => dtype)).toEqual([
      "float32",
      at.x.dtype,
      "float32",
      "float32",
      "float32",
    ]);
    expect((recorded[0] as Tensor).toArray()).toEqual(exact);
  });

  test("a graph changes no bit", () => {
    const rough = mapInputs(draw([2, 32, 6, 7, 48]), (t) => t.mul(1 / 3).to("float32"));
    const alone = noGrad(() => under(ours, rough));
    expect(under(ours, rough).toArray()).toEqual(alone.toArray());
    expect(under(ours, mapInputs(rough, leaf)).toArray()).toEqual(alone.toArray());
  });

  test("images of float32 and a residual of bfloat16", () => {
    const residual = single.residual.to("bfloat16");
    const expected = reference({ ...inputs, residual: residual.to("float64") }).toArray();
    const found = noGrad(() => under(ours, { ...single, residual }));
    expect(found.dtype).toBe("float32");
    expect(found.toArray()).toEqual(expected);
  });

  test("what the kernels do not take has the same type", () => {
    const { x, weight, bias } = mapInputs(draw([2, 16, 6, 6, 3]), (t) => t.to("float32"));
    const plain = (image: Tensor) =>
      autocast({ dtype: "bfloat16" }, () => conv2d(image, weight, bias, { padding: 1 }));
    expect(plain(x).dtype).toBe("float32");
    expect(plain(x.to("bfloat16")).dtype).toBe("bfloat16");
  });
});

test("gradients of one input alone, and none where none is wanted", () => {
  const inputs = mapInputs(draw([1, 16, 4, 4, 32]), (t) => t.to("float32"));
  for (const name of names) {
    const at = leaf(inputs[name]);
    const one = { ...inputs, [name]: at };
    const [found] = grad([ours(one).square().sum()], [at]) as [Tensor];
    const [expected] = grad([reference(one).square().sum()], [at]) as [Tensor];
    expect(distance(found, expected)).toBeLessThan(1e-6);
  }
  expect(ours(inputs).requiresGrad).toBe(false);
});

test("gradients of gradients", () => {
  const inputs = draw([2, 16, 5, 4, 32]);
  const second = (run: Run, dtype: FloatDtype) => {
    const leaves = leavesOf(inputs, dtype);
    const wanted = names.map((name) => leaves[name]);
    const first = grad([run(leaves).mul(0.01).sin().sum()], wanted, { createGraph: true }) as Tensor[];
    return grad(
      [first.map((g) => g.square().sum()).reduce((sum, term) => sum.add(term))],
      wanted,
    ) as Tensor[];
  };
  const expected = second(reference, "float64");
  // Sums of up to 288 products in float32, twice.
  second(ours, "float32").forEach((found, i) => {
    expect(distance(found, expected[i] as Tensor), names[i]).toBeLessThan(1e-5);
  });
});

test("gradients of gradients where one input is made of another", () => {
  const { x, weight, bias } = mapInputs(draw([1, 32, 5, 4, 32]), (t) => t.to("float32").mul(0.05));
  const twice = (createGraph: boolean) => {
    const [w, b] = [leaf(weight), leaf(bias)];
    const y = conv2d(conv2d(x, w, b, { padding: 1 }), w, b, { padding: 1 });
    return grad([y.sin().sum()], [w, b], { createGraph }) as Tensor[];
  };
  const [alone, recorded] = [twice(false), twice(true)];
  // The one by Winograd's way, the other by libtorch's, in float32.
  alone.forEach((expected, i) => {
    expect(distance(recorded[i] as Tensor, expected)).toBeLessThan(1e-5);
  });
});

test("two threads: each output is one thread's, sums over all tiles are the same at every run", () => {
  const size = [3, 32, 10, 7, 48] as const;
  const leaves = leavesOf(draw(size), "bfloat16");
  const cotangent = draw(size, 2).residual;
  const run = (count: number) => {
    setThreads(count);
    return all(ours, leaves, cotangent).map((t) => t.to("float64").toArray());
  };
  const [alone, together, again] = [run(1), run(2), run(2)] as const;
  expect(together).toEqual(again);
  expect(together.slice(0, 2)).toEqual(alone.slice(0, 2)); // the output and the gradient of x
});

test("the layout of its inputs does not matter, and the result lies channels-last", () => {
  const inputs = mapInputs(draw([2, 16, 6, 8, 32]), (t) => t.to("float32"));
  const expected = ours(inputs);
  expect(expected.strides).toEqual([32 * 48, 1, 32 * 8, 32]);
  const contiguous = mapInputs(inputs, (t) => t.contiguous());
  expect(contiguous.x.strides).not.toEqual(inputs.x.strides);
  expect(ours(contiguous).toArray()).toEqual(expected.toArray());
  const wider = randn([2, 40, 6, 8], new Generator({ seed: 3 })).clone("channelsLast");
  const part = wider.narrow(1, 8, 16);
  expect(ours({ ...inputs, x: part }).toArray()).toEqual(
    ours({ ...inputs, x: part.clone("channelsLast") }).toArray(),
  );
});

describe("what the kernels do not take is libtorch's", () => {
  test.each([
    ["channels that are no multiple of 16", [2, 16, 6, 6, 3], "float32"],
    ["few channels", [2, 16, 6, 6, 16], "float32"],
    ["images of three rows", [2, 16, 3, 6, 32], "float32"],
    ["float64", [2, 16, 6, 6, 32], "float64"],
  ] as const)("%s", (_, size, dtype) => {
    const inputs = mapInputs(draw(size), (t) => t.to(dtype));
    expect(ours(inputs).toArray()).toEqual(reference(inputs).toArray());
  });

  test("other paddings add the residual too", () => {
    const { x, weight, bias } = mapInputs(draw([1, 16, 6, 6, 16]), (t) => t.to("float32"));
    const residual = ones([1, 16, 4, 4]);
    expect(conv2d(x, weight, bias, { residual }).toArray()).toEqual(
      libtorchs(x, weight, bias, 1, 0).add(residual).toArray(),
    );
  });
});

test("mistakes name the shapes", () => {
  const { x, weight, bias, residual } = mapInputs(draw([2, 16, 6, 6, 32]), (t) => t.to("float32"));
  expect(() => conv2d(x, weight, bias, { padding: 1, residual: residual.narrow(0, 0, 1) })).toThrow(
    /varidiff::conv2d_3x3: expected a residual of the result's shape \[2, 32, 6, 6\], got \[1, 32, 6, 6\]/,
  );
  const few = weight.narrow(0, 0, 8);
  expect(() => conv2d(x, few, bias.narrow(0, 0, 8), { padding: 1, residual: ones([8, 1, 1]) })).toThrow(
    /expected a residual of the result's shape \[2, 8, 6, 6\], got \[8, 1, 1\]/,
  );
  expect(() => conv2d(x, weight, bias.narrow(0, 0, 31), { padding: 1 })).toThrow("varidiff::conv2d_3x3");
  expect(() => conv2d(x, weight, bias.reshape([2, 16]), { padding: 1 })).toThrow("varidiff::conv2d_3x3");
  expect(() => conv2d(x, weight.narrow(1, 0, 8), bias, { padding: 1 })).toThrow("varidiff::conv2d_3x3");
});
