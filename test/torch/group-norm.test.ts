/** The fused group normalisation against a plain evaluation of its formula, and its derivatives. */
import { describe, expect, test } from "vitest";
import {
  dropout,
  Generator,
  type GroupNormOptions,
  grad,
  groupNorm,
  groupNormFork,
  noGrad,
  randn,
  setThreads,
  type Tensor,
  tensor,
  threads,
} from "../../src/torch/index.js";

type Activation = GroupNormOptions["activation"];
interface Case {
  readonly shape: readonly [number, number, number, number];
  readonly groups: number;
}

const epsilon = 1e-6;
const cases: readonly Case[] = [
  { shape: [2, 64, 4, 4], groups: 32 },
  { shape: [3, 6, 5, 7], groups: 3 },
  { shape: [1, 5, 1, 3], groups: 1 },
  { shape: [2, 3, 2, 2], groups: 3 },
  { shape: [1, 33, 3, 1], groups: 11 },
];

interface Inputs {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly shift: Tensor;
}

function draw({ shape }: Case, seed = 1): Inputs {
  const generator = new Generator({ seed });
  const float64 = { dtype: "float64" } as const;
  const [n, c] = shape;
  return {
    x: randn(shape, generator, float64).mul(2).add(0.5),
    weight: randn([c], generator, float64),
    bias: randn([c], generator, float64),
    shift: randn([n, c], generator, float64),
  };
}

/** `act((x + shift - mean) / sqrt(var + eps) * weight + bias)`, one number after the other. */
function plain(inputs: Inputs, { shape, groups }: Case, activation: Activation, shifted: boolean): number[] {
  const [n, c, h, w] = shape;
  const [x, weight, bias, shift] = [inputs.x, inputs.weight, inputs.bias, inputs.shift].map((t) =>
    t.toArray(),
  ) as [number[], number[], number[], number[]];
  const perGroup = (c / groups) * h * w;
  const values = x.map((v, i) => v + (shifted ? (shift[Math.floor(i / (h * w))] as number) : 0));
  const out: number[] = [];
  for (let g = 0; g < n * groups; g++) {
    const part = values.slice(g * perGroup, (g + 1) * perGroup);
    const mean = part.reduce((s, v) => s + v, 0) / perGroup;
    const variance = part.reduce((s, v) => s + (v - mean) ** 2, 0) / perGroup;
    part.forEach((v, j) => {
      const channel = Math.floor((g * perGroup + j) / (h * w)) % c;
      const u =
        ((v - mean) / Math.sqrt(variance + epsilon)) * (weight[channel] as number) +
        (bias[channel] as number);
      out.push(activation === "silu" ? u / (1 + Math.exp(-u)) : u);
    });
  }
  return out;
}

function run(
  inputs: Inputs,
  { groups }: Case,
  activation: Activation,
  shifted: boolean,
  reference = false,
): Tensor {
  return groupNorm(inputs.x, inputs.weight, inputs.bias, {
    groups,
    epsilon,
    activation,
    shift: shifted ? inputs.shift : undefined,
    implementation: reference ? "reference" : "fused",
  });
}

function mapInputs(inputs: Inputs, f: (t: Tensor) => Tensor): Inputs {
  return { x: f(inputs.x), weight: f(inputs.weight), bias: f(inputs.bias), shift: f(inputs.shift) };
}

function largestDifference(a: readonly number[], b: readonly number[]): number {
  return a.reduce((most, v, i) => Math.max(most, Math.abs(v - (b[i] as number))), 0);
}

const variants = cases.flatMap((c) =>
  (["silu", "none"] as const).flatMap((activation) =>
    [true, false].map((shifted) => ({ ...c, activation, shifted, name: `${c.shape} / ${c.groups}` })),
  ),
);

describe.each(variants)("$name, $activation, shift $shifted", ({ activation, shifted, ...c }) => {
  const inputs = draw(c);

  // Sums of at most 200 numbers near 1: float64 2e-16 * 200; float32 1e-7 * 50; bfloat16 rounds results near 8 by 1/64.
  test.each([
    ["float64", 1e-12],
    ["float32", 1e-5],
    ["bfloat16", 0.035],
  ] as const)("forward in %s", (dtype, tolerance) => {
    const rounded = mapInputs(inputs, (t) => t.to(dtype));
    const expected = plain(
      mapInputs(rounded, (t) => t.to("float64")),
      c,
      activation,
      shifted,
    );
    const y = run(rounded, c, activation, shifted);
    expect(y.dtype).toBe(dtype);
    expect(largestDifference(y.toArray(), expected)).toBeLessThan(tolerance);
    expect(largestDifference(run(rounded, c, activation, shifted, true).toArray(), expected)).toBeLessThan(
      tolerance,
    );
  });

  // The reference is made of libtorch's own differentiable operators.
  test.each([
    ["float64", 1e-11],
    ["float32", 2e-4],
    ["bfloat16", 0.05],
  ] as const)("gradient in %s, relative to the largest", (dtype, tolerance) => {
    const cotangent = randn(c.shape, new Generator({ seed: 2 }), { dtype: "float64" }).to(dtype);
    const gradients = (to: "float64" | typeof dtype, reference: boolean): number[][] => {
      const leaves = mapInputs(inputs, (t) => t.to(dtype).to(to).clone().requireGrad());
      const wanted = [leaves.x, leaves.weight, leaves.bias, ...(shifted ? [leaves.shift] : [])];
      const y = run(leaves, c, activation, shifted, reference);
      return grad([y], wanted, { gradients: [cotangent.to(to)] }).map((g) => g?.toArray() ?? []);
    };
    const expected = gradients("float64", true);
    gradients(dtype, false).forEach((found, i) => {
      const exact = expected[i] as number[];
      expect(found.length).toBe(exact.length);
      const largest = Math.max(1, ...exact.map(Math.abs));
      expect(largestDifference(found, exact) / largest).toBeLessThan(tolerance);
    });
  });
});

describe("derivatives by central differences", () => {
  // Error h^2 |f'''| / 6 + 1e-16 |f| / h: about 1e-8 at h = 1e-5 for sums of some dozens of terms.
  const h = 1e-5;
  const c: Case = { shape: [2, 4, 3, 2], groups: 2 };
  const inputs = draw(c);
  const names = ["x", "weight", "bias", "shift"] as const;
  const generator = new Generator({ seed: 3 });
  const directions = mapInputs(inputs, (t) => randn(t.shape, generator, { dtype: "float64" }));
  const moved = (by: number): Inputs => ({
    x: inputs.x.add(directions.x.mul(by)),
    weight: inputs.weight.add(directions.weight.mul(by)),
    bias: inputs.bias.add(directions.bias.mul(by)),
    shift: inputs.shift.add(directions.shift.mul(by)),
  });
  const loss = (at: Inputs) => run(at, c, "silu", true).sin().sum();

  /** d/dh of the loss along the directions, as a graph where asked. */
  function slope(at: Inputs, createGraph: boolean): { value: Tensor; leaves: Inputs } {
    const leaves = mapInputs(at, (t) => t.detach().clone().requireGrad());
    const gradients = grad(
      [loss(leaves)],
      names.map((n) => leaves[n]),
      { createGraph },
    );
    const value = names
      .map((n, i) => (gradients[i] as Tensor).mul(directions[n]).sum())
      .reduce((sum, term) => sum.add(term));
    return { value, leaves };
  }

  test("first", () => {
    const expected = (loss(moved(h)).item() - loss(moved(-h)).item()) / (2 * h);
    expect(slope(inputs, false).value.item()).toBeCloseTo(expected, 6);
    expect(slope(inputs, true).value.item()).toBeCloseTo(expected, 6);
  });

  test("second, through the gradient of the gradient", () => {
    const expected = (slope(moved(h), false).value.item() - slope(moved(-h), false).value.item()) / (2 * h);
    const { value, leaves } = slope(inputs, true);
    const second = grad(
      [value],
      names.map((n) => leaves[n]),
    );
    const found = names.reduce((sum, n, i) => sum + (second[i] as Tensor).mul(directions[n]).sum().item(), 0);
    expect(found).toBeCloseTo(expected, 5);
  });

  test("of one input alone", () => {
    const weight = inputs.weight.clone().requireGrad();
    const y = run({ ...inputs, weight }, c, "none", false);
    expect(grad([y.sum()], [weight, inputs.bias.clone().requireGrad()]).map((g) => g === null)).toEqual([
      false,
      true,
    ]);
    expect(noGrad(() => run({ ...inputs, weight }, c, "none", false)).requiresGrad).toBe(false);
  });
});

describe("hard cases", () => {
  test("a mean a thousand times the deviation cancels nothing in float32", () => {
    const c: Case = { shape: [1, 32, 8, 8], groups: 32 };
    const inputs = mapInputs(draw(c), (t) => t.to("float32"));
    const far = { ...inputs, x: inputs.x.add(2048) };
    // Adding 2048 rounds x by 2^-12 at most, a hundredth of a percent of its deviation of 2; weights are at most 3.
    expect(
      largestDifference(run(far, c, "none", false).toArray(), run(inputs, c, "none", false).toArray()),
    ).toBeLessThan(2e-3);
  });

  test("constant input gives act(bias); saturated and broken values behave as the formula does", () => {
    const one = (values: number[], dtype: "float32" | "bfloat16" = "float32") => tensor(values, { dtype });
    const norm = (x: Tensor, bias: number) =>
      groupNorm(x, one([1], "float32").to(x.dtype), one([bias]).to(x.dtype), {
        groups: 1,
        epsilon,
        activation: "silu",
      });
    const flat = one([3, 3, 3, 3]).reshape([1, 1, 2, 2]);
    expect(norm(flat, 0).toArray()).toEqual([0, 0, 0, 0]);
    expect(norm(flat, 100).toArray()).toEqual([100, 100, 100, 100]); // silu(100) = 100 - 4e-42
    expect(Math.abs(norm(flat, -100).toArray()[0] as number)).toBeLessThan(1e-20);
    for (const dtype of ["float32", "bfloat16"] as const)
      expect(norm(one([1, Number.NaN, 2, 3], dtype).reshape([1, 1, 2, 2]), 0).toArray()).toEqual(
        new Array(4).fill(Number.NaN),
      );
  });

  test("the layout of the input does not matter, and the result lies channels-last", () => {
    const c: Case = { shape: [2, 6, 5, 7], groups: 3 };
    const inputs = draw(c);
    const y = run(inputs, c, "silu", true);
    const transposed = inputs.x.permute([3, 0, 2, 1]).contiguous().permute([1, 3, 2, 0]);
    expect(transposed.strides).not.toEqual(inputs.x.strides);
    for (const x of [inputs.x.clone("channelsLast"), transposed])
      expect(run({ ...inputs, x }, c, "silu", true).toArray()).toEqual(y.toArray());
    expect(y.strides).toEqual([6 * 35, 1, 6 * 7, 6]);
  });

  test("more threads give the same bits: each image is one thread's", () => {
    const c: Case = { shape: [4, 32, 6, 6], groups: 32 };
    const inputs = mapInputs(draw(c), (t) => t.to("float32"));
    const alone = run(inputs, c, "silu", true).toArray();
    const before = threads();
    setThreads(2);
    expect(run(inputs, c, "silu", true).toArray()).toEqual(alone);
    setThreads(before);
  });

  test("mistakes name the shapes", () => {
    const { x, weight, bias, shift } = draw(cases[0] as Case);
    const norm = (groups: number, w = weight, b = bias, s = shift) =>
      groupNorm(x, w, b, { groups, epsilon, activation: "silu", shift: s });
    expect(() => norm(7)).toThrow(
      /varidiff::group_norm: expected channels that are a multiple of 7 groups, got 64 \(float64\[2, 64, 4, 4\]/,
    );
    expect(() => norm(0)).toThrow("varidiff::group_norm");
    expect(() => norm(32, weight.narrow(0, 0, 3))).toThrow("expected weight and bias of shape [64]");
    expect(() => norm(32, weight, bias, shift.narrow(0, 0, 1))).toThrow("expected shift of shape [2, 64]");
    expect(() => groupNorm(x.to("int64"), weight, bias, { groups: 32, epsilon, activation: "none" })).toThrow(
      /expected float32, float64 or bfloat16/,
    );
    expect(() => groupNorm(weight, weight, bias, { groups: 32, epsilon, activation: "none" })).toThrow(
      "expected x of shape [N, C, H, W]",
    );
  });
});

describe.each(cases)("weight and bias of each image's own, $shape / $groups", (c) => {
  const [n, channels] = c.shape;
  const generator = new Generator({ seed: 7 });
  const own = () => randn([n, channels], generator, { dtype: "float64" });
  const leaves = (inputs: Inputs): Inputs => mapInputs(inputs, (t) => t.detach().clone().requireGrad());
  const together = leaves({ ...draw(c), weight: own(), bias: own() });

  test.each(["fused", "reference"] as const)("as if each image came alone, %s", (which) => {
    const whole = run(together, c, "silu", true, which === "reference");
    const cost = randn(whole.shape, new Generator({ seed: 9 }), { dtype: "float64" });
    const gradients = grad([whole.mul(cost).sum()], Object.values(together));
    for (let i = 0; i < n; i++) {
      const of = (t: Tensor) => t.detach().narrow(0, i, 1);
      // The shared form, [C], is tested above against the formula.
      const alone = leaves({
        x: of(together.x),
        weight: of(together.weight).reshape([channels]),
        bias: of(together.bias).reshape([channels]),
        shift: of(together.shift),
      });
      const y = run(alone, { ...c, shape: [1, ...c.shape.slice(1)] as never }, "silu", true);
      expect(largestDifference(y.toArray(), of(whole).toArray())).toBeLessThan(1e-12);
      const expected = grad([y.mul(of(cost)).sum()], Object.values(alone));
      for (const [k, gradient] of expected.entries())
        expect(
          largestDifference(gradient?.toArray() ?? [], of(gradients[k] as Tensor).toArray()),
        ).toBeLessThan(1e-10);
    }
  });

  test("other shapes are refused", () => {
    const wrong = { ...together, weight: own().narrow(1, 0, 1) };
    expect(() => run(wrong, c, "silu", false)).toThrow(/expected weight and bias of shape/);
  });
});

describe.each(cases)("dropout and fork, $shape / $groups", (c) => {
  const inputs = draw(c);
  const rate = 0.3;
  const options = (key: number) => ({
    groups: c.groups,
    epsilon,
    activation: "silu" as const,
    dropout: { rate, keys: { next: () => key } },
  });
  const key = 2 ** 40 + 77;

  test.each(["float64", "float32", "bfloat16"] as const)("the mask is that of dropout in %s", (dtype) => {
    const { x, weight, bias } = mapInputs(inputs, (t) => t.to(dtype));
    const whole = groupNorm(x, weight, bias, { groups: c.groups, epsilon, activation: "silu" });
    const mask = dropout(whole.mul(0).add(1), rate, { next: () => key });
    const dropped = groupNorm(x, weight, bias, options(key));
    expect(dropped.eq(0).toArray()).toEqual(mask.eq(0).toArray());
    // Rounded once and not twice: by 2^-9 of the value (bfloat16), of numbers below 16.
    const tolerance = { float64: 1e-14, float32: 4e-6, bfloat16: 0.07 }[dtype];
    const exact = dropout(whole.to("float64"), rate, { next: () => key });
    expect(largestDifference(dropped.toArray(), exact.toArray())).toBeLessThan(tolerance);
    const reference = groupNorm(x, weight, bias, { ...options(key), implementation: "reference" });
    expect(largestDifference(dropped.toArray(), reference.toArray())).toBeLessThan(tolerance);
  });

  /** Of both outputs, at inputs of `dtype`; the reference takes them in float64, through libtorch's own operators. */
  function gradients(dtype: "float64" | "float32" | "bfloat16", of: "fork" | "reference"): number[][] {
    const leaves = mapInputs(inputs, (t) =>
      t
        .to(dtype)
        .to(of === "fork" ? dtype : "float64")
        .clone()
        .requireGrad(),
    );
    const { x, weight, bias, shift } = leaves;
    const all = { ...options(key), shift };
    const [normed, past] =
      of === "fork"
        ? groupNormFork(x, weight, bias, all)
        : [groupNorm(x, weight, bias, { ...all, implementation: "reference" }), x];
    const cotangents = [2, 3].map((seed) =>
      randn(c.shape, new Generator({ seed }), { dtype: "float64" }).to(dtype).to(x.dtype),
    );
    return grad([normed, past], [x, weight, bias, shift], { gradients: cotangents }).map(
      (g) => g?.toArray() ?? [],
    );
  }

  test.each([
    ["float64", 1e-11],
    ["float32", 2e-4],
    ["bfloat16", 0.05],
  ] as const)("the gradient of what goes past is added in %s", (dtype, tolerance) => {
    const expected = gradients(dtype, "reference");
    gradients(dtype, "fork").forEach((found, i) => {
      const exact = expected[i] as number[];
      expect(found.length).toBe(exact.length);
      const largest = Math.max(1, ...exact.map(Math.abs));
      expect(largestDifference(found, exact) / largest).toBeLessThan(tolerance);
    });
  });
});

describe("fork", () => {
  const c: Case = { shape: [2, 4, 3, 2], groups: 2 };
  const inputs = draw(c);
  const options = {
    groups: 2,
    epsilon,
    activation: "silu",
    dropout: { rate: 0.4, keys: { next: () => 5 } },
  } as const;
  const ends = (which: "fork" | "apart", { x, weight, bias }: Inputs): readonly [Tensor, Tensor] =>
    which === "fork"
      ? groupNormFork(x, weight, bias, options)
      : [groupNorm(x, weight, bias, { ...options, implementation: "reference" }), x];

  test("gives x again, without a copy of it", () => {
    const x = inputs.x.clone().requireGrad();
    const [, past] = groupNormFork(x, inputs.weight, inputs.bias, options);
    expect(past.toArray()).toEqual(x.toArray());
    noGrad(() => x.mul_(2));
    expect(past.toArray()).toEqual(x.toArray());
  });

  test.each([0, 1] as const)("the gradient of output %i alone", (k) => {
    const of = (which: "fork" | "apart") => {
      const leaves = mapInputs(inputs, (t) => t.clone().requireGrad());
      return grad([ends(which, leaves)[k].square().sum()], [leaves.x, leaves.weight]).map(
        (g) => g?.toArray() ?? [],
      );
    };
    const [found, expected] = [of("fork"), of("apart")];
    expected.forEach((e, i) => {
      expect(found[i]?.length).toBe(e.length);
      expect(largestDifference(found[i] as number[], e)).toBeLessThan(1e-10);
    });
  });

  test("the gradient of the gradient is that of the operators it is made of", () => {
    const of = (which: "fork" | "apart") => {
      const leaves = mapInputs(inputs, (t) => t.clone().requireGrad());
      const [normed, past] = ends(which, leaves);
      const first = grad([normed.mul(past).mul(past).sum()], [leaves.x, leaves.weight], {
        createGraph: true,
      });
      const slope = first.map((g) => (g as Tensor).square().sum()).reduce((a, b) => a.add(b));
      return grad([slope], [leaves.x, leaves.weight, leaves.bias]).map((g) => g?.toArray() ?? []);
    };
    const [found, expected] = [of("fork"), of("apart")];
    expected.forEach((e, i) => {
      const largest = Math.max(1, ...e.map(Math.abs));
      expect(largest).toBeGreaterThan(1);
      expect(largestDifference(found[i] as number[], e) / largest).toBeLessThan(1e-10);
    });
  });

  test("weights alone may want the gradient of the gradient", () => {
    const weight = inputs.weight.clone().requireGrad();
    const [normed, past] = ends("fork", { ...inputs, weight });
    const [first] = grad([normed.mul(past).sum()], [weight], { createGraph: true }) as [Tensor];
    const [plain, beside] = ends("apart", { ...inputs, weight });
    const [expected] = grad([plain.mul(beside).sum()], [weight]) as [Tensor];
    expect(largestDifference(first.toArray(), expected.toArray())).toBeLessThan(1e-10);
  });
});

test("gradients are the same with createGraph where one input is made of another", () => {
  const { x, weight, bias } = draw(cases[0] as Case);
  const of = (createGraph: boolean) => {
    const [w, b] = [weight, bias].map((t) => t.clone().requireGrad()) as [Tensor, Tensor];
    const norm = (h: Tensor) => groupNorm(h, w, b, { groups: 32, epsilon, activation: "silu" });
    const y = norm(norm(x));
    return grad([y.sin().sum()], [w, b], { createGraph }).map((g) => (g as Tensor).toArray());
  };
  const [alone, recorded] = [of(false), of(true)];
  alone.forEach((expected, i) => {
    expect(largestDifference(recorded[i] as number[], expected)).toBeLessThan(1e-9);
  });
});
