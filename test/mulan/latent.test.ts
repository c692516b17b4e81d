/** Latents: k-hot vectors are k-hot and their gradient is a projection, noise has its moments, divergences are divergences. */
import { describe, expect, test } from "vitest";
import {
  categoricalDivergence,
  createLatent,
  gaussianDivergence,
  gumbelTemperature,
  latentSchema,
  logSubsetProbabilities,
  logSubsets,
  plackettLuceDivergence,
  projectedTopK,
  subsetsOf,
} from "../../src/diffusion/latent/index.js";
import { drawGumbel, drawSumOfGamma } from "../../src/diffusion/latent/noise.js";
import { full, Generator, grad, randn, type Tensor, tensor, zeros } from "../../src/torch/index.js";
import { close, same } from "../golden.js";

const float64 = { dtype: "float64" } as const;
const seeded = (seed: number) => new Generator({ seed });
const latent = (config: unknown) => createLatent(latentSchema.parse(config));
const logits = randn([16, 50], seeded(1), float64);
const rowSums = (x: Tensor) => x.sum([-1]).toArray();
const isBinary = (x: Tensor) => x.toArray().every((value) => value === 0 || value === 1);

describe("projection on the k largest", () => {
  const cotangent = randn([16, 50], seeded(2), float64);
  const gradientAt = (values: Tensor) => {
    const x = values.clone().requireGrad();
    const { z } = projectedTopK(x, 15);
    return grad([z.mul(cotangent.to(z.dtype)).sum()], [x])[0] as Tensor;
  };

  test("has exactly k ones and a gradient that neither shifts nor stretches the logits", () => {
    const { hard, centred } = projectedTopK(logits, 15);
    expect(rowSums(hard)).toEqual(new Array(16).fill(15));
    const gradient = gradientAt(logits);
    expect(gradient.abs().max().item()).toBeGreaterThan(1e-3);
    expect(Math.max(...rowSums(gradient).map(Math.abs))).toBeLessThan(1e-14);
    expect(Math.max(...rowSums(gradient.mul(centred)).map(Math.abs))).toBeLessThan(1e-13);
  });

  test("is the projection's vector-Jacobian product", () => {
    // P[(g - s (s . g)) / |c|], P[y] = y - mean y (Sahoo et al. 2022)
    const { soft, centred } = projectedTopK(logits, 15);
    const along = soft.mul(cotangent).sum([1], { keepDims: true });
    const tangent = cotangent.sub(soft.mul(along)).div(centred.square().sum([1], { keepDims: true }).sqrt());
    close(gradientAt(logits), tangent.sub(tangent.mean([1], { keepDims: true })), 1e-12, "gradient");
  });

  test("does not see a constant added to all logits", () => {
    same(projectedTopK(logits.add(3), 15).z, projectedTopK(logits, 15).z, "z");
    close(gradientAt(logits.add(3)), gradientAt(logits), 1e-11, "gradient");
  });

  test.each(["float32", "float64"] as const)("is exactly 0 or 1 in %s", (dtype) => {
    const { z } = projectedTopK(logits.to(dtype), 15);
    expect(z.dtype).toBe(dtype);
    expect(isBinary(z)).toBe(true);
  });

  test.each(["float32", "float64"] as const)("equal logits in %s: all ones, no gradient, no NaN", (dtype) => {
    // 0.3 has no exact mean of 50: without care, rounding would pass for a direction.
    const x = full([16, 50], 0.3, { dtype });
    const { z, soft } = projectedTopK(x, 15);
    same(z, full([16, 50], 1), "z");
    same(soft, zeros([16, 50]), "soft");
    same(gradientAt(x), zeros([16, 50]), "gradient");
  });
});

describe("noise", () => {
  // (10 / k) sqrt(sum_i scale_i^2 / k) and (10 / k) (sum_i scale_i / k - log 10) with k = 15 and ten terms
  test.each([
    ["official", (i: number) => i / 15, 0.2252],
    ["imle", (i: number) => 15 / i, 3.2143],
  ] as const)("sum of gammas, scale as %s: mean and standard deviation", (scale, of, published) => {
    const noise = drawSumOfGamma([200_000], seeded(3), 15, scale);
    expect(noise.isFinite().all().item()).toBe(1);
    const scales = Array.from({ length: 10 }, (_, j) => of(j + 1));
    const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
    const deviation = (10 / 15) * Math.sqrt(sum(scales.map((s) => s * s)) / 15);
    const mean = (10 / 15) * (sum(scales) / 15 - Math.log(10));
    close([deviation], [published], 5e-4, "closed form and the specification's digits");
    // The excess kurtosis is at most 41: the deviation's own is 0.7 %, the mean's 0.22 % of the deviation.
    close([noise.variance().sqrt().item()], [deviation], 0.02, "standard deviation");
    close([noise.mean().item()], [mean], 0, "mean", { absolute: 0.01 * deviation });
  });

  test("Gumbel: mean Euler's constant, variance pi^2 / 6", () => {
    const noise = drawGumbel([200_000], seeded(5));
    // standard errors 0.003 and 0.008
    close([noise.mean().item()], [0.5772156649015329], 0, "mean", { absolute: 0.01 });
    close([noise.variance().item()], [Math.PI ** 2 / 6], 0, "variance", { absolute: 0.03 });
  });
});

describe("subsets", () => {
  const few = tensor([[0.3, -1, 1.2, 0, 0.5]], float64);

  test("k largest under Gumbel noise come with their exact probabilities", () => {
    const subsets = subsetsOf(5, 2).map(String);
    const draws = 20_000;
    const { z } = projectedTopK(few.add(drawGumbel([draws, 5], seeded(6))), 2);
    const counts = new Map(subsets.map((subset) => [subset, 0]));
    const flat = z.toArray();
    for (let i = 0; i < draws; i++) {
      const subset = String([0, 1, 2, 3, 4].filter((j) => flat[i * 5 + j] === 1));
      counts.set(subset, (counts.get(subset) ?? 0) + 1);
    }
    const expected = logSubsetProbabilities(few, 2).exp().toArray();
    // chi squared with 9 degrees of freedom is above 27.9 once in a thousand
    const chiSquared = subsets.reduce((sum, subset, i) => {
      const mean = (expected[i] ?? 0) * draws;
      return sum + ((counts.get(subset) ?? 0) - mean) ** 2 / mean;
    }, 0);
    expect(chiSquared).toBeLessThan(27.9);
  });

  test.each([1, 2, 3, 4])("%i of 5: probabilities sum to 1; of 1 they are the softmax", (k) => {
    const p = logSubsetProbabilities(few, k).exp();
    close([p.sum().item()], [1], 1e-14, "sum");
    if (k === 1) close(p, few.softmax(-1), 1e-14, "softmax");
  });

  test("divergence: 0 for equal logits, log C(m, k) for a certain subset", () => {
    const rows = tensor(
      [
        [2, 2, 2, 2, 2, 2],
        [90, 80, 0, 0, 0, 0],
      ],
      float64,
    );
    close(plackettLuceDivergence(rows, 2), [0, Math.log(15)], 1e-12, "KL", { absolute: 1e-14 });
    close([logSubsets(6, 2), logSubsets(5, 0), logSubsets(5, 5)], [Math.log(15), 0, 0], 1e-14, "log C");
  });

  test("too many subsets are refused", () => {
    expect(() => logSubsetProbabilities(logits, 15)).toThrow(/at most 5000 subsets to list/);
  });
});

describe("divergences", () => {
  test("categorical: between 0 and log m, the same for shifted logits", () => {
    const rows = tensor(
      [
        [1, 1, 1, 1],
        [800, 0, 0, 0],
        [0.5, -1, 2, 0],
      ],
      float64,
    );
    const kl = categoricalDivergence(rows);
    const [equal, certain, between] = kl.toArray() as [number, number, number];
    close([equal, certain], [0, Math.log(4)], 1e-14, "ends of the range", { absolute: 1e-15 });
    expect(between).toBeGreaterThan(0);
    expect(between).toBeLessThan(Math.log(4));
    close(categoricalDivergence(rows.add(7)), kl, 1e-12, "shifted", { absolute: 1e-14 });
  });

  test("Gaussian: 0 for the prior, and half the squared mean where that alone differs", () => {
    const mean = tensor(
      [
        [0, 0],
        [1, 2],
      ],
      float64,
    );
    close(gaussianDivergence(mean, full([2, 2], 1, float64)), [0, 2.5], 1e-15, "KL");
    // 1/2 (4 - log 4 - 1) in each of two entries
    close(
      gaussianDivergence(mean.mul(0), full([2, 2], 4, float64)),
      new Array(2).fill(3 - Math.log(4)),
      1e-14,
      "KL",
    );
  });
});

describe.each([
  { kind: "k-hot", ones: 15 },
  { kind: "k-hot", noise: "gumbel", ones: 15 },
  { kind: "k-hot", gammaScale: "imle", ones: 15 },
  { kind: "one-hot", ones: 1 },
] as const)("$kind $noise $gammaScale", ({ ones, ...config }) => {
  const law = latent(config);
  const kHot = (z: Tensor) => {
    expect(z.shape).toEqual([16, 50]);
    expect(isBinary(z)).toBe(true);
    expect(rowSums(z)).toEqual(new Array(16).fill(ones));
  };

  test("draws, modes and the prior have as many ones as they should", () => {
    expect([law.size, law.heads]).toEqual([50, 1]);
    for (const dtype of ["float32", "float64"] as const) {
      const drawn = law.draw([logits.to(dtype)], seeded(7), 0);
      for (const z of [drawn.z, law.mode([logits.to(dtype)]).z, law.prior(16, seeded(8), { dtype })]) {
        kHot(z);
        expect(z.dtype).toBe(dtype);
      }
      expect(drawn.kl.shape).toEqual([16]);
    }
  });

  test("a generator's state decides the draw", () => {
    const draw = (seed: number) => law.draw([logits], seeded(seed), undefined).z;
    same(draw(9), draw(9), "the same seed");
    expect(draw(9).sub(draw(10)).abs().max().item()).toBe(1);
  });

  test("the mode is where the logits are largest, and draws gather there as they grow", () => {
    const mode = law.mode([logits]).z;
    const inside = mode
      .eq(1)
      .where(logits, full([], Number.POSITIVE_INFINITY, float64))
      .min([1]);
    const outside = mode
      .eq(0)
      .where(logits, full([], Number.NEGATIVE_INFINITY, float64))
      .max([1]);
    expect(inside.sub(outside).min().item()).toBeGreaterThan(0);
    same(law.draw([logits.mul(1e6)], seeded(11), undefined).z, mode, "draw from logits of a million");
  });

  test("each entry of the prior is as likely as any other", () => {
    const draws = 4000;
    const share = law.prior(draws, seeded(12), float64).mean([0]).toArray();
    const p = ones / 50;
    const error = Math.sqrt((p * (1 - p)) / draws);
    for (const value of share) expect(Math.abs(value - p)).toBeLessThan(4.5 * error); // 50 entries: once in 3000
  });
});

describe("what z is charged", () => {
  const small = logits.narrow(1, 0, 6);
  const options = { kind: "k-hot", size: 6, k: 2, noise: "gumbel" };
  const bound = full([16], Math.log(15), float64);

  test("categorical: as if z were a single entry, drawn or not", () => {
    const law = latent(options);
    same(law.draw([small], seeded(13), 0).kl, categoricalDivergence(small), "draw");
    same(law.mode([small]).kl, categoricalDivergence(small), "mode");
  });

  test("subset-upper: log C(m, k)", () => {
    const law = latent({ ...options, kl: "subset-upper" });
    close(law.draw([small], seeded(13), 0).kl, bound, 1e-14, "draw");
    close(law.mode([small]).kl, bound, 1e-14, "mode");
  });

  test("plackett-luce: exact for a draw, log C(m, k) for the mode, never above it", () => {
    const law = latent({ ...options, kl: "plackett-luce" });
    const x = small.clone().requireGrad();
    const { kl } = law.draw([x], seeded(13), 0);
    same(kl, plackettLuceDivergence(small, 2), "draw");
    close(law.mode([small]).kl, bound, 1e-14, "mode");
    expect(bound.sub(kl.detach()).min().item()).toBeGreaterThan(0);
    expect(grad([kl.sum()], [x])[0]?.isFinite().all().item()).toBe(1);
  });
});

describe("gaussian", () => {
  const law = latent({ kind: "gaussian", size: 3 });
  const mean = tensor([[1, -2, 0]], float64);
  const raw = tensor([[0, 1, -3]], float64);

  test("draws have the mean and variance that the encoder says", () => {
    expect([law.size, law.heads]).toEqual([3, 2]);
    const count = 20_000;
    const { z, kl } = law.draw([mean.expand([count, 3]), raw.expand([count, 3])], seeded(14), undefined);
    const variance = raw.toArray().map((value) => Math.log1p(Math.exp(value)));
    const sampled = { mean: z.mean([0]).toArray(), variance: z.variance([0]).toArray() };
    for (const [i, v] of variance.entries()) {
      const expected = mean.toArray()[i] ?? 0;
      expect(Math.abs((sampled.mean[i] ?? 0) - expected)).toBeLessThan(4 * Math.sqrt(v / count));
      expect(Math.abs((sampled.variance[i] ?? 0) / v - 1)).toBeLessThan(4 * Math.sqrt(2 / count));
    }
    const each = mean.toArray().map((m, i) => {
      const v = variance[i] ?? 0;
      return (m * m + v - Math.log(v) - 1) / 2;
    });
    close([kl.toArray()[0] ?? 0], [each.reduce((sum, value) => sum + value, 0)], 1e-14, "KL");
  });

  test("its mode is the mean, its fixed latent 0", () => {
    same(law.mode([mean, raw]).z, mean, "mode");
    same(law.fixed(2, float64), zeros([2, 3]), "fixed");
    expect(law.prior(5, seeded(15), { dtype: "float32" })).toMatchObject({ shape: [5, 3], dtype: "float32" });
  });
});

test("the fixed latents of sample grids", () => {
  same(
    latent({ kind: "k-hot", size: 5, k: 2 }).fixed(2, float64),
    tensor([
      [1, 1, 0, 0, 0],
      [1, 1, 0, 0, 0],
    ]),
    "k-hot",
  );
  same(latent({ kind: "one-hot", size: 4 }).fixed(1, float64), tensor([[0, 1, 0, 0]]), "one-hot");
});

test("the temperature of the relaxation falls to 1/2", () => {
  expect(gumbelTemperature(0)).toBe(1);
  close([gumbelTemperature(10_000)], [Math.exp(-0.1)], 1e-15, "after 10,000 steps");
  expect([gumbelTemperature(1e6), gumbelTemperature(undefined)]).toEqual([0.5, 0.5]);
});

test("an encoder with another number of outputs is refused", () => {
  expect(() => latent({ kind: "k-hot" }).mode([logits, logits])).toThrow(/with 1 output, got 2/);
  expect(() => latent({ kind: "gaussian" }).mode([logits])).toThrow(
    /with 2 outputs, mean and raw variance, got 1/,
  );
});

test.each([
  [{ size: 10, k: 10 }, /k below size/],
  [{ size: 6, k: 2, kl: "plackett-luce" }, /noise gumbel with kl plackett-luce/],
  [{ noise: "gumbel", kl: "plackett-luce" }, /at most 5000 subsets/],
])("options %j are refused", (options, message) => {
  expect(() => latentSchema.parse({ kind: "k-hot", ...options })).toThrow(message);
});
