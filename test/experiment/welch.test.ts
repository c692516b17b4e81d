/** Welch's test against R's documentation, closed forms of Student's t, and what needs no arithmetic. */
import { expect, test } from "vitest";
import { type Alternative, type Welch, welchTest } from "../../src/experiment/welch.js";

function welch(
  values: readonly number[],
  baseline: readonly number[],
  alternative: Alternative = "less",
): Welch {
  const result = welchTest(values, baseline, { alternative });
  if (!result) throw new Error("expected a test");
  return result;
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

test("R's example t.test(extra ~ group, data = sleep)", () => {
  // Data set "sleep" of R (Student 1908): extra hours of sleep by two drugs. R prints t = -1.8608, df = 17.776,
  // p-value = 0.07939, 95 percent confidence interval -3.3654832 0.2054832.
  const first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
  const second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
  const { difference, t, degreesOfFreedom, p, interval } = welch(first, second, "two-sided");
  expect(difference).toBeCloseTo(0.75 - 2.33, 12);
  expect(t).toBeCloseTo(-1.8608, 4);
  expect(degreesOfFreedom).toBeCloseTo(17.776, 3);
  expect(p).toBeCloseTo(0.07939, 5);
  expect(interval[0]).toBeCloseTo(-3.3654832, 6);
  expect(interval[1]).toBeCloseTo(0.2054832, 6);
});

test("R's examples of ?t.test: 1:10 against 7:20, and with 200 among them", () => {
  // "P = .00001855" and "P = .1245 -- NOT significant anymore"
  expect(welch(range(1, 10), range(7, 20), "two-sided").p).toBeCloseTo(0.00001855, 8);
  expect(welch(range(1, 10), [...range(7, 20), 200], "two-sided").p).toBeCloseTo(0.1245, 4);
});

// With a baseline of no spread all of the error is on one side, and n - 1 degrees of freedom are left.
const constant = [0, 0, 0];

test.each([0.3, 1, 4, 40])("two values and t = %d: one degree of freedom, cdf 1/2 + atan(t) / pi", (t) => {
  // Mean m and standard error e = |difference of the two| / 2.
  const { degreesOfFreedom, ...result } = welch([t - 1, t + 1], constant);
  expect(degreesOfFreedom).toBeCloseTo(1, 12);
  expect(result.t).toBeCloseTo(t, 12);
  // jstat's incomplete beta function is good to about 1e-8.
  expect(result.p).toBeCloseTo(0.5 + Math.atan(t) / Math.PI, 7);
  expect(welch([t - 1, t + 1], constant, "greater").p).toBeCloseTo(Math.atan(1 / t) / Math.PI, 7);
  // The quantile is tan(pi (0.975 - 1/2)) = 12.70620.
  expect(result.interval[1] - t).toBeCloseTo(Math.tan(0.475 * Math.PI), 6);
});

test.each([-3, -0.5, 2])(
  "three values and t = %d: two degrees of freedom, cdf 1/2 + t / (2 sqrt(2 + t^2))",
  (t) => {
    // {m - sqrt 3, m, m + sqrt 3} has variance 3, so that the standard error of its mean is 1.
    const values = [t - Math.sqrt(3), t, t + Math.sqrt(3)];
    const below = 0.5 + t / (2 * Math.sqrt(2 + t ** 2));
    const { degreesOfFreedom, p, interval } = welch(values, constant);
    expect(degreesOfFreedom).toBeCloseTo(2, 12);
    expect(p).toBeCloseTo(below, 9);
    expect(welch(values, constant, "greater").p).toBeCloseTo(1 - below, 9);
    expect(welch(values, constant, "two-sided").p).toBeCloseTo(2 * Math.min(below, 1 - below), 9);
    // Quantile of p: (2 p - 1) sqrt(2 / (1 - (2 p - 1)^2)), for p = 0.975.
    expect(t - interval[0]).toBeCloseTo(0.95 * Math.sqrt(2 / (1 - 0.95 ** 2)), 7);
  },
);

test("a far tail keeps its digits, where 1 - cdf would have none", () => {
  // On four degrees of freedom the tail is 3 / t^4 (1 + O(1 / t^2)). Five values of which the mean has standard error
  // 1: the squares of sqrt 8 {-1, -1/2, 0, 1/2, 1} add up to 20 = 5 * 4.
  const values = [-1, -0.5, 0, 0.5, 1].map((place) => 1e4 + Math.sqrt(8) * place);
  const { p, degreesOfFreedom } = welch(values, constant, "greater");
  expect(degreesOfFreedom).toBeCloseTo(4, 12);
  expect(p / 3e-16).toBeCloseTo(1, 6);
});

test("equal sizes and variances: n_0 + n_1 - 2 degrees of freedom", () => {
  expect(welch([1, 2, 3, 4], [11, 12, 13, 14]).degreesOfFreedom).toBeCloseTo(6, 12);
});

test("exchanging the two changes the sign and the tail", () => {
  const [one, other] = [
    [3, 4, 8],
    [5, 9, 10, 11],
  ] as const;
  const [there, back] = [welch(one, other), welch(other, one, "greater")];
  expect(back.t).toBeCloseTo(-there.t, 12);
  expect(back.p).toBeCloseTo(there.p, 12);
  expect(back.interval).toEqual([-there.interval[1], -there.interval[0]]);
});

test("there is no test without two values on each side, nor without any spread", () => {
  for (const [values, baseline] of [
    [[1], [2, 3]],
    [[1, 2], [3]],
    [
      [1, 1],
      [2, 2],
    ],
  ] as const)
    expect(welchTest(values, baseline, { alternative: "less" })).toBeUndefined();
});
