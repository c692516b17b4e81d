/**
 * Schedules of degradations against golden/vcd/schedules and ihdm: at their README's tolerances, and at wider ones, each with its
 * reason, where the files hold float32 arithmetic that has lost the digits.
 */
import { expect, test } from "vitest";
import {
  type ChainTables,
  chainTables,
  type FadingCurve,
  fadingCoefficients,
  type GaussianWidths,
  gaussianWidths,
  heatWidths,
  type NoiseScheduleName,
  noiseBetas,
  pixelFactors,
  pixelIndices,
} from "../../src/diffusion/index.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("vcd", "schedules");
const ihdm = new GoldenFile("vcd", "ihdm");

/** 2e-6 of each number; numbers below 1e-6, the float32 rounding of 1 - beta, are only so far from each other. */
const agree = (actual: ArrayLike<number>, expected: readonly number[], what: string) =>
  close(Array.from(actual), expected, 2e-6, what, { rule: "relative", absolute: 1e-7 });

const keys = (pattern: RegExp) => file.keys.filter((key) => pattern.test(key));

test.each(keys(/^noise\.\w+\.T\d+\.betas$/))("%s", (key) => {
  const [, schedule, T] = key.split(".") as [string, NoiseScheduleName, string];
  // The original does not clip the linear schedule, whose betas pass 1 below 20 steps.
  const expected = file.numbers(key).map((beta) => Math.min(beta, 0.999));
  const steps = Number(T.slice(1));
  // The ratio of two g in float32, which are small where much of the noise is there: 1e-6 off, 2e-4 in long chains.
  const absolute = schedule === "linear" ? 1e-7 : steps >= 200 ? 2e-4 : 1e-6;
  close(noiseBetas(schedule, steps), expected, 2e-6, key, { rule: "relative", absolute });
});

const tables: Readonly<Record<string, keyof ChainTables>> = {
  alphas_cumprod: "alphasCumprod",
  fwd_x0: "sqrtAlphasCumprod",
  fwd_noise: "sqrtOneMinusAlphasCumprod",
  post_x0: "posteriorMeanCoef1",
  post_xt: "posteriorMeanCoef2",
  post_var: "posteriorVariance",
  restore_xt: "sqrtRecipAlphasCumprod",
  restore_eps: "sqrtRecipm1AlphasCumprod",
};

test.each(keys(/^noise\.\w+\.T\d+\.(?!betas)/))("%s", (key) => {
  const [, schedule, T, table] = key.split(".") as [string, NoiseScheduleName, string, string];
  const steps = Number(T.slice(1));
  const ours = chainTables(noiseBetas(schedule, steps))[tables[table] as keyof ChainTables];
  // The last beta of the original's linear schedule of 20 is 1, not 0.999: what follows from it is not compared.
  const upTo = schedule === "linear" && steps === 20 ? steps - 1 : steps;
  // The files hold float32 arithmetic: 1 - 0.999 there is off by up to 3e-5 of itself, 1 - abar_0 and 1 / abar - 1 keep fewer
  // digits where abar is near 1, and a product of a thousand factors has a thousand roundings.
  const tolerance = steps >= 200 || /restore|fwd_noise|post/.test(table) ? 1e-4 : 2e-6;
  close(Array.from(ours).slice(0, upTo), file.numbers(key).slice(0, upTo), tolerance, key, {
    rule: "relative",
    absolute: 1e-7,
  });
});

test.each(keys(/^black\./))("%s", (key) => {
  const [, curve, T] = key.split(".") as [string, FadingCurve, string];
  const ours = fadingCoefficients(curve, Number(T.slice(1)));
  agree(ours, file.numbers(key), key);
  expect(ours.at(-1)).toBe(0);
});

test.each(keys(/^dct_sigma\./))("%s", (key) => {
  const [, S, T] = /S(\d+)\.T(\d+)/.exec(key) as unknown as [string, string, string];
  const ours = heatWidths(Number(T), { first: 1, last: Number(S), reached: "twice" });
  agree(ours, file.numbers(key), key);
});

test.each(keys(/^pixel\./))("%s", (key) => {
  const [, S, T] = /S(\d+)\.T(\d+)/.exec(key) as unknown as [string, string, string];
  expect(pixelFactors(Number(T), Number(S))).toEqual(file.numbers(key));
});

test.each(keys(/^pixel_index\./))("%s", (key) => {
  const [, S, c] = /S(\d+)\.c(\d+)/.exec(key) as unknown as [string, string, string];
  const [kept, ...indices] = file.numbers(key);
  const ours = pixelIndices(Number(S), Number(c));
  expect(ours).toEqual(indices);
  expect(new Set(ours).size).toBe(kept);
});

test.each(keys(/^bansal_std\./))("%s", (key) => {
  const [, routine, T] = key.split(".") as [string, string, string];
  const rule = (routine === "cifar" ? "linear" : routine) as GaussianWidths;
  agree(gaussianWidths(rule, Number(T.slice(1))), file.numbers(key), key);
});

test.each(ihdm.keys.filter((key) => key.includes("blur_schedule")))("%s", (key) => {
  const [clean, ...widths] = ihdm.numbers(key);
  expect(clean).toBe(0);
  const [first, last] = [widths[0], widths.at(-1)] as [number, number];
  close(heatWidths(widths.length, { first, last, reached: "once" }), widths, 1e-12, key, {
    rule: "relative",
  });
});

/** Of the paper's tables: the widths that configurations of MNIST and CIFAR-10 state. */
test("ends of the heat schedules of Rissanen et al.", () => {
  close(ihdm.numbers("blur_schedule.mnist").at(-1), 20, 1e-12, "MNIST");
  close(ihdm.numbers("blur_schedule.cifar10").at(-1), 24, 1e-12, "CIFAR-10");
});

test("every tensor of schedules that concerns degradations is read", () => {
  const read = /^(noise|black|dct_sigma|pixel|pixel_index|bansal_std)\./;
  expect(file.keys.filter((key) => !read.test(key)).sort()).toEqual([
    "annealer.black.N30",
    "annealer.plain.N30",
  ]);
});

test("chains of one level", () => {
  expect(heatWidths(1, { first: 1, last: 28, reached: "twice" })).toEqual([28]);
  expect(heatWidths(2, { first: 1, last: 28, reached: "twice" })).toEqual([1, 1]);
  expect(fadingCoefficients("cosine", 1)).toEqual([0]);
  expect(pixelFactors(1, 28)).toEqual([1]);
});
