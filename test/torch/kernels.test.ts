/** The fused dropout and AdamW: properties of the mask, and the update against its formula. */
import { describe, expect, test } from "vitest";
import {
  call,
  clearGradients,
  dropout,
  Generator,
  grad,
  noGrad,
  ones,
  randn,
  Streams,
  setThreads,
  type Tensor,
  tensor,
  threads,
} from "../../src/torch/index.js";

const drop = (x: Tensor, rate: number, key: number) => dropout(x, rate, { next: () => key });

describe("dropout", () => {
  test("at rate 0 is a copy", () => {
    const x = ones([4]);
    (call("varidiff::dropout", x, 0, 1) as Tensor).mul_(5);
    expect(x.toArray()).toEqual([1, 1, 1, 1]);
  });

  test("keeps 1 - rate of the elements and scales them by 1 / (1 - rate)", () => {
    const y = drop(ones([1 << 20]), 0.25, 12345).toTypedArray() as Float32Array;
    expect(new Set(y)).toEqual(new Set([0, Math.fround(4 / 3)]));
    const kept = y.reduce((count, v) => count + (v > 0 ? 1 : 0), 0) / y.length;
    // Deviation of a frequency: sqrt(0.25 * 0.75 / 2^20) = 0.0004; five of them.
    expect(Math.abs(kept - 0.75)).toBeLessThan(0.0021);
  });

  test("neighbouring elements and consecutive keys are independent", () => {
    const keys = new Streams(1).dropoutKeys();
    const [a, b] = [0, 1].map(() => drop(ones([1 << 20]), 0.5, keys.next()).toTypedArray()) as [
      Float32Array,
      Float32Array,
    ];
    const n = a.length;
    let neighbours = 0;
    let both = 0;
    for (let i = 0; i + 1 < n; i++) {
      if (a[i] === 0 && a[i + 1] === 0) neighbours++;
      if (a[i] === 0 && b[i] === 0) both++;
    }
    // 1/4 with deviation sqrt(3/16 / 2^20) = 0.00042, somewhat more where pairs overlap; six of them.
    expect(Math.abs(neighbours / n - 0.25)).toBeLessThan(0.0026);
    expect(Math.abs(both / n - 0.25)).toBeLessThan(0.0026);
  });

  test("is a function of key and position, the same for every dtype and number of threads", () => {
    const mask = (x: Tensor) => drop(x, 0.3, 99).eq(0).toArray();
    const x = ones([100_000]);
    const alone = mask(x);
    expect(mask(x.to("float64"))).toEqual(alone);
    expect(mask(x.to("bfloat16"))).toEqual(alone);
    const before = threads();
    setThreads(2);
    expect(mask(x)).toEqual(alone);
    setThreads(before);
    expect(drop(x, 0.3, 100).eq(0).toArray()).not.toEqual(alone);
    expect(
      drop(x, 0.3, 99 + 2 ** 40)
        .eq(0)
        .toArray(),
    ).not.toEqual(alone);
  });

  test("the gradient, and its gradient, go through the same mask", () => {
    const x = randn([2, 3, 4, 5], new Generator({ seed: 1 }))
      .clone("channelsLast")
      .requireGrad();
    const y = drop(x, 0.5, 7);
    y.square().sum().backward();
    // d sum(y^2) / dx = 2 y m, where m is 2 on kept elements and y is 0 elsewhere.
    expect(x.grad?.toArray()).toEqual(y.mul(4).toArray());
    clearGradients([x]);
    // A gradient that lies row-major under a tensor that lies channels-last.
    drop(x, 0.5, 7).backward({ gradient: ones(x.shape) });
    expect(x.grad?.toArray()).toEqual(
      y
        .eq(0)
        .toArray()
        .map((dropped) => (dropped ? 0 : 2)),
    );
    const leaf = ones([64]).requireGrad();
    const [first] = grad([drop(leaf.square(), 0.5, 7).sum()], [leaf], { createGraph: true });
    const [second] = grad([first as Tensor], [leaf], { gradients: [ones([64])] });
    expect(second?.toArray()).toEqual(drop(leaf, 0.5, 7).mul(2).toArray()); // m 2x, then 2m
  });

  test("does nothing at rate 0 and without keys; refuses other rates", () => {
    const x = ones([3]);
    expect(dropout(x, 0, { next: () => 1 })).toBe(x);
    expect(dropout(x, 0.5, undefined)).toBe(x);
    expect(() => drop(x, 1, 1)).toThrow("varidiff::dropout: expected a rate in [0, 1), got 1");
    expect(() => drop(x.to("int64"), 0.5, 1)).toThrow("expected float32, float64 or bfloat16");
  });
});

describe("AdamW", () => {
  const o = { rate: 2e-3, b1: 0.9, b2: 0.99, epsilon: 1e-8, ema: 0.95, scale: 0.5 };
  type State = Record<"p" | "m" | "v" | "e", number[]>;

  /** One step, one number after the other. */
  function plainStep(s: State, g: readonly number[], k: number, decay: number): void {
    s.p.forEach((p, i) => {
      const grad = (g[i] as number) * o.scale;
      const m = o.b1 * (s.m[i] as number) + (1 - o.b1) * grad;
      const v = o.b2 * (s.v[i] as number) + (1 - o.b2) * grad ** 2;
      const direction = m / (1 - o.b1 ** k) / (Math.sqrt(v / (1 - o.b2 ** k)) + o.epsilon);
      const next = p - o.rate * (direction + decay * p);
      s.m[i] = m;
      s.v[i] = v;
      s.p[i] = next;
      s.e[i] = o.ema * (s.e[i] as number) + (1 - o.ema) * next;
    });
  }

  function fusedStep(s: Record<keyof State, Tensor[]>, g: Tensor[], k: number, decay: number[]): void {
    call("varidiff::adamw_", s.p, g, s.m, s.v, s.e, decay, k, o.rate, o.b1, o.b2, o.epsilon, o.ema, o.scale);
  }

  function start(values: readonly Tensor[]): Record<keyof State, Tensor[]> {
    const copies = () => values.map((t) => t.clone());
    return { p: copies(), m: copies().map((t) => t.zero_()), v: copies().map((t) => t.zero_()), e: copies() };
  }

  test("a graph that was made before the step is refused, as after any change in place", () => {
    const w = ones([3]).requireGrad();
    const y = w.square().sum();
    const state = start([w.detach()]);
    noGrad(() => fusedStep({ ...state, p: [w] }, [ones([3])], 1, [0]));
    expect(w.toArray()).not.toEqual([1, 1, 1]);
    expect(() => grad([y], [w])).toThrow("modified by an inplace operation");
  });

  // Relative error of some roundings a step, ten steps; parameters are of size 1.
  test.each([
    ["float64", 1e-14],
    ["float32", 2e-6],
  ] as const)("ten steps in %s are those of the formula", (dtype, tolerance) => {
    const generator = new Generator({ seed: 5 });
    const shapes = [[3, 5], [7], [2, 3, 3, 3]];
    const decays = [0.1, 0, 0.01];
    const values = shapes.map((shape) => randn(shape, generator, { dtype: "float64" }));
    const fused = start(values.map((t, i) => (i === 2 ? t.clone("channelsLast") : t).to(dtype)));
    const plain = values.map((t): State => {
      const p = t.to(dtype).toArray();
      return { p, e: [...p], m: p.map(() => 0), v: p.map(() => 0) };
    });
    for (let k = 1; k <= 10; k++) {
      const gradients = shapes.map((shape) => randn(shape, generator, { dtype: "float64" }).to(dtype));
      fusedStep(fused, gradients, k, decays); // row-major gradients, also of the channels-last parameter
      plain.forEach((s, i) => {
        plainStep(s, (gradients[i] as Tensor).toArray(), k, decays[i] as number);
      });
    }
    for (const key of ["p", "m", "v", "e"] as const)
      fused[key].forEach((t, i) => {
        const expected = (plain[i] as State)[key];
        t.toArray().forEach((value, j) => {
          expect(Math.abs(value - (expected[j] as number))).toBeLessThan(tolerance);
        });
      });
  });

  test("agrees with libtorch's foreach operators", () => {
    const generator = new Generator({ seed: 6 });
    const p = randn([1000], generator);
    const g = randn([1000], generator);
    const fused = start([p]);
    fusedStep(fused, [g], 1, [0.1]);
    const [scaled] = call("aten::_foreach_mul.Scalar", [g], o.scale) as [Tensor];
    const m = scaled.mul(1 - o.b1);
    const v = scaled.square().mul(1 - o.b2);
    const [root] = call("aten::_foreach_sqrt", [v.div(1 - o.b2)]) as [Tensor];
    const direction = m.div(1 - o.b1).div(root.add(o.epsilon));
    const expected = p.sub(direction.add(p.mul(0.1)).mul(o.rate));
    expect((fused.p[0] as Tensor).sub(expected).abs().max().item()).toBeLessThan(1e-6);
  });

  test("updates leaves without a graph", () => {
    const p = ones([2]).requireGrad();
    const s = { ...noGrad(() => start([p.detach()])), p: [p] };
    noGrad(() => fusedStep(s, [ones([2])], 1, [0]));
    // The first step goes by the learning rate in the gradient's direction, whatever its size.
    expect(p.toArray()).toEqual([Math.fround(1 - o.rate), Math.fround(1 - o.rate)]);
    expect(p.requiresGrad).toBe(true);
  });

  test("mistakes are named", () => {
    const s = start([ones([2])]);
    expect(() => fusedStep(s, [], 1, [0])).toThrow(/expected as many gradients/);
    expect(() => fusedStep(s, [ones([3])], 1, [0])).toThrow(/expected one shape for a parameter/);
    expect(() => fusedStep(s, [ones([2])], 0, [0])).toThrow("expected a step count from 1, got 0");
    expect(() => fusedStep(start([tensor([1, 2], { dtype: "int64" })]), [ones([2])], 1, [0])).toThrow(
      /float32 or float64/,
    );
  });
});
