/** What must hold of betas and tables whatever their schedule, and numbers known of the published ones. */
import { describe, expect, test } from "vitest";
import {
  betaScheduleSchema,
  chainTables,
  checkBetas,
  cosineBetas,
  createBetas,
  linearBetas,
  linearCombineBetas,
  switchIndex,
} from "../../src/diffusion/index.js";
import { UserError } from "../../src/errors.js";
import { close } from "../golden.js";

const schedules: Readonly<Record<string, readonly number[]>> = {
  "linear 1000": linearBetas(1000),
  "linear 500": linearBetas(500),
  "linear 21": linearBetas(21),
  "linear 3": linearBetas(3),
  "linear from 1e-4": linearBetas(1000, { start: 1e-4 }),
  "cosine 4000": cosineBetas(4000),
  "cosine 1000": cosineBetas(1000),
  "cosine 10": cosineBetas(10),
  "linear 468 after 0.1": linearCombineBetas(468, 0.1),
  "linear 426 after 0.3": linearCombineBetas(426, 0.3),
  explicit: [0.3, 0.01, 0.9, 0.5],
};

// Differences from 1 are right to 1e-16, which 1 - abar_0 = 1e-5 of the longest cosine makes 1e-11 of a quotient.
const tolerance = { rule: "relative", absolute: 1e-10 } as const;

describe.each(Object.entries(schedules))("%s", (_, betas) => {
  const tables = chainTables(betas);
  const steps = betas.map((_, t) => t);
  const at = (table: Float64Array) => (t: number) => table[t] as number;
  const [abar, previous] = [at(tables.alphasCumprod), at(tables.alphasCumprodPrev)];
  const [coef1, coef2] = [at(tables.posteriorMeanCoef1), at(tables.posteriorMeanCoef2)];
  const variance = at(tables.posteriorVariance);

  test("x_0 alone decides the posterior of step 0", () => {
    expect(coef1(0)).toBeCloseTo(1, 11);
    expect(coef2(0)).toBe(0);
    expect(variance(0)).toBe(0);
  });

  test("the posterior's mean, averaged over x_t, is that of q(x_{t-1} | x_0)", () => {
    const mean = steps.map((t) => coef1(t) + coef2(t) * Math.sqrt(abar(t)));
    const expected = steps.map((t) => Math.sqrt(previous(t)));
    close(mean, expected, 0, "mean", tolerance);
  });

  test("and so is its variance", () => {
    const total = steps.map((t) => coef2(t) ** 2 * (1 - abar(t)) + variance(t));
    const expected = steps.map((t) => 1 - previous(t));
    close(total, expected, 0, "variance", tolerance);
  });

  test("the posterior varies less than the step", () => {
    for (const t of steps) expect(variance(t)).toBeLessThanOrEqual(betas[t] as number);
    expect(tables.posteriorLogVarianceClipped[0]).toBe(Math.log(variance(1)));
    expect(tables.fixedLargeLogVariance[0]).toBe(Math.log(variance(1)));
    expect(tables.fixedLargeLogVariance[1]).toBe(Math.log(betas[1] as number));
  });

  test("betas follow from abar, which falls", () => {
    const recovered = steps.map((t) => 1 - abar(t) / previous(t));
    close(recovered, betas, 0, "betas", { rule: "relative", absolute: 1e-15 });
    for (const t of steps) expect(abar(t)).toBeLessThan(previous(t));
    expect(Array.from(tables.alphasCumprodNext)).toEqual([...Array.from(tables.alphasCumprod).slice(1), 0]);
  });
});

// Computed in double precision by the official code, to the digits given.
test.each([
  ["linear 1000", 0.999, 2.56515205024e-5, 5.04964826075e-4, -7.59102178245, 0.50471228051],
  ["linear 500", 0.998, 2.38593261783e-5, 1.01972117122e-3, -6.8882260506, 0.50935046984],
  ["cosine 4000", 0.999990134181, 1.51798046885e-10, 5.00768339522e-6, -12.204537146, 0.5075765922],
  ["cosine 1000", 0.999958715775, 2.42876690703e-9, 2.17894961457e-5, -10.7340825325, 0.527781409334],
  ["linear 468 after 0.1", 0.9, 2.1304699380716e-5, 2.18005651998e-3, -6.12840447592, 0.0206818320931],
] as const)("%s: its first and last numbers", (name, first, last, variance1, log0, coef1) => {
  const tables = chainTables(schedules[name] as readonly number[]);
  const found = [
    ...[tables.alphasCumprod[0], tables.alphasCumprod.at(-1), tables.posteriorVariance[1]],
    ...[tables.posteriorLogVarianceClipped[0], tables.posteriorMeanCoef1[1]],
  ].map(Number);
  close(found, [first, last, variance1, log0, coef1], 1e-10, name, { rule: "relative" });
});

describe("how many steps a denoiser replaces", () => {
  // T - 1 - k steps stay: the paper's numbers up to one step of counting, but for 0.1 on CIFAR-10 (900 there).
  test.each([
    ["linear 500", 0.001, 0, 499],
    ["linear 500", 0.025, 10, 489],
    ["linear 500", 0.1, 32, 467],
    ["linear 500", 0.2, 54, 445],
    ["linear 500", 0.3, 73, 426],
    ["linear 1000", 0.001, 0, 999],
    ["linear 1000", 0.025, 20, 979],
    ["linear 1000", 0.1, 64, 935],
    ["linear 1000", 0.2, 109, 890],
    ["cosine 4000", 0.1, 793, 3206],
  ] as const)("%s, variance %d: k = %i, %i stay", (name, beta1, k, rest) => {
    const betas = schedules[name] as readonly number[];
    expect(switchIndex(chainTables(betas), beta1)).toBe(k);
    expect(betas.length - 1 - k).toBe(rest);
  });

  test("of two that are as close the first", () => {
    // abar = 0.75, 0.25: both 0.25 from 0.5, exactly.
    expect(switchIndex({ alphasCumprod: Float64Array.of(0.75, 0.25) }, 0.5)).toBe(0);
  });
});

describe("betas that make no chain", () => {
  const named = (config: object) => createBetas(betaScheduleSchema.parse(config));

  test.each([
    [
      { kind: "linear", steps: 15 },
      /inside \(0, 1\), got 1\.06190\d* at step 11 of 15: .*3 to 9 or more than 20/,
    ],
    [{ kind: "linear", steps: 20 }, /got 1 at step 19 of 20/],
    [{ kind: "linear", steps: 2 }, /got 1 at step 1 of 2/],
    [{ kind: "linear-combine", steps: 12, firstBeta: 0.1 }, /inside \(0, 1\), got/],
    [{ kind: "explicit", betas: [0.1, 0] }, /got 0 at step 1 of 2/],
    [{ kind: "explicit", betas: [0.1, -0.1, 0.2] }, /got -0.1 at step 1 of 3/],
  ])("%o", (config, said) => {
    expect(() => named(config)).toThrow(UserError);
    expect(() => named(config)).toThrow(said);
    expect(() => named(config)).not.toThrow(/\n/);
  });

  test("one step, or none", () => {
    expect(() => checkBetas([0.1])).toThrow("expected a chain of two steps or more, got 1: ask for more");
    expect(() => chainTables([])).toThrow("got 0");
  });

  test("what is usable is", () => {
    for (const steps of [3, 9, 21, 1000]) expect(named({ kind: "linear", steps })).toHaveLength(steps);
  });
});

test("the ends of the linear schedule are those of 1000 steps, stretched", () => {
  expect([linearBetas(1000)[0], linearBetas(1000).at(-1)]).toEqual([0.001, 0.02]);
  expect([linearBetas(500)[0], linearBetas(500).at(-1)]).toEqual([0.002, 0.04]);
  expect([linearBetas(5)[0], linearBetas(5).at(-1)]).toEqual([1 / 5, 2 / 5]);
  expect(linearBetas(1000, { start: 1e-4 })[0]).toBe(1e-4);
  expect(linearBetas(500, { end: 0.01 }).at(-1)).toBe(0.02);
});

test("the denoiser's variance stands before a schedule of as many steps", () => {
  const combined = linearCombineBetas(468, 0.1);
  expect(combined[0]).toBe(0.1);
  expect(combined.slice(1)).toEqual(linearBetas(468).slice(1));
});
