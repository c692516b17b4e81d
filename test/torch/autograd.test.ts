/** Gradients against closed forms, and the modes around a computation. */
import { describe, expect, test } from "vitest";
import {
  autocast,
  backward,
  clearGradients,
  conv2d,
  enableGrad,
  full,
  Generator,
  grad,
  noGrad,
  ones,
  randn,
  scope,
  tensor,
  withoutAutocast,
  zeros,
} from "../../src/torch/index.js";

const float64 = { dtype: "float64" } as const;

describe("backward", () => {
  test("d/dx of x^2 exp(x) is (x^2 + 2x) exp(x)", () => {
    const x = tensor([-1, 0.5, 2], float64).requireGrad();
    x.square().mul(x.exp()).sum().backward();
    const expected = [-1, 0.5, 2].map((v) => (v * v + 2 * v) * Math.exp(v));
    x.grad?.toArray().forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i] as number, 12);
    });
  });

  test("accumulates until cleared; several roots in one pass", () => {
    const x = tensor([1, 2], float64).requireGrad();
    x.sum().backward();
    x.mul(3).sum().backward();
    expect(x.grad?.toArray()).toEqual([4, 4]);
    clearGradients([x]);
    expect(x.grad).toBeNull();
    backward([x.sum(), x.square()], { gradients: [tensor(10, float64), tensor([1, 0.5], float64)] });
    expect(x.grad?.toArray()).toEqual([12, 12]); // 10 + 2x g
  });

  test("a vector needs a cotangent; a tensor outside any graph has none", () => {
    const x = ones([2]).requireGrad();
    expect(() => x.mul(2).backward()).toThrow(/scalar/);
    x.mul(2).backward({ gradient: tensor([1, 3]) });
    expect(x.grad?.toArray()).toEqual([2, 6]);
    expect(() => ones([]).backward()).toThrow(/grad/);
  });

  test("may follow the end of the scope that built the graph", () => {
    const x = tensor([3], float64).requireGrad();
    const y = scope(() => x.mul(2).square().exp().log());
    y.sum().backward();
    expect(x.grad?.item()).toBeCloseTo(24, 12); // d (2x)^2 = 8x
  });

  test("a leaf can stop and detached numbers never start", () => {
    const x = ones([1]).requireGrad();
    expect([x.requiresGrad, x.detach().requiresGrad, x.requireGrad("off").requiresGrad]).toEqual([
      true,
      false,
      false,
    ]);
  });
});

describe("grad", () => {
  test("createGraph: the first two derivatives of x^3 are 3x^2 and 6x", () => {
    const x = tensor([2, -1], float64).requireGrad();
    const [first] = grad([x.pow(3).sum()], [x], { createGraph: true });
    expect(first?.toArray()).toEqual([12, 3]);
    const [second] = grad([first?.sum() ?? x], [x]);
    expect(second?.toArray()).toEqual([12, -6]);
    expect(x.grad).toBeNull();
  });

  test("is null for an input that nothing depends on", () => {
    const x = ones([1]).requireGrad();
    const unused = ones([1]).requireGrad();
    expect(grad([x.mul(2)], [unused, x]).map((g) => g?.item() ?? null)).toEqual([null, 2]);
  });

  test("retainGraph: a graph is spent after one pass unless kept", () => {
    const x = ones([1]).requireGrad();
    const y = x.exp();
    grad([y], [x], { retainGraph: true });
    grad([y], [x]);
    expect(() => grad([y], [x])).toThrow(/second time/);
  });
});

describe("noGrad and enableGrad", () => {
  test("nest, and are undone after a throw", () => {
    const x = ones([1]).requireGrad();
    const records = () => x.mul(2).requiresGrad;
    expect(noGrad(() => [records(), enableGrad(() => [records(), noGrad(records)]), records()])).toEqual([
      false,
      [true, false],
      false,
    ]);
    expect(() =>
      noGrad(() => {
        throw new Error("inside");
      }),
    ).toThrow("inside");
    expect(records()).toBe(true);
  });
});

describe("autocast", () => {
  const x = full([1, 2, 4, 4], 1.5);
  const weight = full([3, 2, 3, 3], 0.5);
  const convolved = () => conv2d(x, weight, null).dtype;

  test("convolutions run in bfloat16 inside, in their own dtype outside and after a throw", () => {
    expect(autocast({ dtype: "bfloat16" }, convolved)).toBe("bfloat16");
    expect(convolved()).toBe("float32");
    expect(() =>
      autocast({ dtype: "bfloat16" }, () => {
        throw new Error("inside");
      }),
    ).toThrow("inside");
    expect(convolved()).toBe("float32");
  });

  test("withoutAutocast switches it off for a part and back on", () => {
    expect(
      autocast({ dtype: "bfloat16" }, () => [convolved(), withoutAutocast(convolved), convolved()]),
    ).toEqual(["bfloat16", "float32", "bfloat16"]);
    expect(withoutAutocast(convolved)).toBe("float32");
    expect(convolved()).toBe("float32");
  });

  test("nested, the outer one's dtype returns", () => {
    expect(
      autocast({ dtype: "bfloat16" }, () => [autocast({ dtype: "bfloat16" }, convolved), convolved()]),
    ).toEqual(["bfloat16", "bfloat16"]);
  });

  test("the gradient reaches a float32 weight as float32", () => {
    const w = weight.clone().requireGrad();
    autocast({ dtype: "bfloat16" }, () => conv2d(x, w, null))
      .to("float32")
      .sum()
      .backward();
    // Each weight meets 4 positions of 1.5, exact in bfloat16.
    expect(w.grad?.dtype).toBe("float32");
    expect(new Set(w.grad?.toArray())).toEqual(new Set([6]));
  });

  test("a weight changed in place between two calls is cast anew", () => {
    const w = weight.clone().requireGrad();
    const sum = () => autocast({ dtype: "bfloat16" }, () => conv2d(x, w, null).to("float32").sum().item());
    const before = sum();
    noGrad(() => w.mul_(2));
    expect(sum()).toBe(2 * before);
  });
});

test("a gradient through convolution equals central differences", () => {
  const generator = new Generator({ seed: 1 });
  const x = randn([1, 2, 3, 3], generator, float64);
  const w = randn([2, 2, 3, 3], generator, float64);
  const loss = (weight: typeof w) =>
    conv2d(x, weight, zeros([2], float64), { padding: 1 })
      .sigmoid()
      .sum();
  const leaf = w.clone().requireGrad();
  const [gradient] = grad([loss(leaf)], [leaf]);
  const direction = randn(w.shape, generator, float64);
  // Error of central differences: h^2 |f'''| / 6 + eps |f| / h, about 1e-9 at h = 1e-5.
  const h = 1e-5;
  const slope = (loss(w.add(direction.mul(h))).item() - loss(w.sub(direction.mul(h))).item()) / (2 * h);
  expect(gradient?.mul(direction).sum().item()).toBeCloseTo(slope, 7);
});
