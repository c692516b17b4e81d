/** Which steps are trained on: probabilities, weights that make up for them, and golden/daed/samplers. */
import { describe, expect, test } from "vitest";
import {
  createStepSampler,
  LossSecondMoment,
  linearBetas,
  linearCombineBetas,
  type StepSampler,
  type StepSampling,
  sampleSteps,
  stepProbabilities,
  stepSamplings,
} from "../../src/diffusion/index.js";
import { Generator } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("daed", "samplers");
const relative = { rule: "relative" } as const;
const generator = (seed: number) => new Generator({ seed });
const betas = Float64Array.from(linearCombineBetas(6, 0.3));
const T = betas.length;

/** After losses of the steps that are far apart: 1, 4, 9, ... */
function warm(sampler: StepSampler): StepSampler {
  for (let i = 0; i < 10; i++)
    sampler.observe?.(
      Array.from({ length: T }, (_, t) => t),
      Array.from({ length: T }, (_, t) => (t + 1) ** 2),
    );
  return sampler;
}
const samplerOf = (sampling: StepSampling) => warm(createStepSampler(sampling, betas));

describe("golden/daed/samplers", () => {
  test("step 0 beta_0 T times as often as the others", () => {
    const long = Float64Array.from(linearCombineBetas(file.numbers("dae_uniform/p").length, 0.1));
    const sampler = createStepSampler("dae-uniform", long);
    const p = stepProbabilities(sampler.weights());
    close(Array.from(p), file.numbers("dae_uniform/p"), 1e-14, "p", relative);
    const expected = file.numbers("dae_uniform/importance_weight");
    const { t, weights } = sampleSteps(sampler, 2000, { generator: generator(1) });
    const own = t.toArray().map((step) => expected[step] as number);
    expect(own).toContain(expected[0]);
    close(weights, own, 1e-14, "weights", relative);
  });

  test("the root mean square of each step's last losses, call by call", () => {
    const history = file.number("loss_second_moment/history_per_term");
    const rows = (key: string) => {
      const of = file.tensor(`loss_second_moment/${key}`);
      return Array.from({ length: of.dim(0) }, (_, call) => of.select(0, call).toArray());
    };
    const [ts, losses, after] = ["ts", "losses", "weights_after"].map(rows) as [
      number[][],
      number[][],
      number[][],
    ];
    const sampler = new LossSecondMoment((after[0] as number[]).length, { history });
    let warmCalls = 0;
    for (const [call, expected] of after.entries()) {
      sampler.observe(ts[call] as number[], losses[call] as number[]);
      close(Array.from(sampler.weights()), expected, 1e-12, `after call ${call}`, relative);
      if (new Set(expected).size > 1) warmCalls++;
    }
    expect(warmCalls).toBeGreaterThan(0);
  });
});

describe.each(stepSamplings)("%s", (sampling) => {
  const sampler = samplerOf(sampling);
  const p = stepProbabilities(sampler.weights());
  const count = 40_000;
  const { t, weights } = sampleSteps(sampler, count, { generator: generator(7) });
  const steps = t.toArray();
  const given = weights.toArray();

  test("averaged over the steps that are ever drawn, the weights are the fewer steps' share of all", () => {
    const drawn = sampleSteps(sampler, count, { generator: generator(7), averageOver: "drawn" });
    const possible = p.filter((each) => each > 0).length;
    close(drawn.weights, weights.mul(p.length / possible), 1e-14, "weights", { rule: "relative" });
  });

  test("steps are drawn as often as they are likely", () => {
    for (const [step, expected] of p.entries()) {
      const found = steps.filter((each) => each === step).length / count;
      // Five standard errors of a binomial: none where a step is certain or impossible.
      const error = Math.sqrt((expected * (1 - expected)) / count);
      expect(Math.abs(found - expected), `step ${step}`).toBeLessThanOrEqual(5 * error);
    }
  });

  test("the weights make up for it: the mean of anything is that over all steps that are drawn at all", () => {
    const losses = [3, 1, 4, 1, 5, 9];
    const weighted = steps.map((step, i) => (losses[step] as number) * (given[i] as number));
    const mean = weighted.reduce((sum, each) => sum + each, 0) / count;
    const variance = weighted.reduce((sum, each) => sum + (each - mean) ** 2, 0) / count;
    const expected = losses.reduce((sum, loss, step) => sum + ((p[step] as number) > 0 ? loss : 0), 0) / T;
    expect(Math.abs(mean - expected)).toBeLessThanOrEqual(5 * Math.sqrt(variance / count) + 1e-12);
  });

  test("probabilities times weights sum to the part of the steps that are drawn", () => {
    const own = new Map(steps.map((step, i) => [step, given[i] as number]));
    const drawn = p.filter((each) => each > 0).length;
    expect(own.size).toBe(drawn);
    const sum = [...own].reduce((total, [step, weight]) => total + (p[step] as number) * weight, 0);
    expect(sum).toBeCloseTo(drawn / T, 14);
  });
});

test("uniform steps weigh 1", () => {
  const { weights } = sampleSteps(samplerOf("uniform"), 100, { generator: generator(2) });
  expect(new Set(weights.toArray())).toEqual(new Set([1]));
});

describe("how often the denoiser is trained", () => {
  const first = (sampling: StepSampling, steps: number, beta1: number) =>
    stepProbabilities(
      createStepSampler(sampling, Float64Array.from(linearCombineBetas(steps, beta1))).weights(),
    )[0] as number;

  // b1 T / (T - 1 + b1 T), to four digits
  test.each([
    [468, 0.1, 0.0911],
    [900, 0.1, 0.091],
    [979, 0.025, 0.0244],
  ])("dae-uniform, %i steps, variance %d: %d", (steps, beta1, expected) => {
    expect(first("dae-uniform", steps, beta1)).toBeCloseTo(expected, 4);
    expect(first("dae-uniform", steps, beta1)).toBeCloseTo((beta1 * steps) / (steps - 1 + beta1 * steps), 14);
  });

  test.each([468, 900])("in proportion to beta, %i steps: 0.0094", (steps) => {
    expect(first("beta-proportional", steps, 0.1)).toBeCloseTo(0.0094, 4);
  });

  test("alone: 1, with a weight of 1 / T; without: never", () => {
    expect(first("only-dae", 468, 0.1)).toBe(1);
    const alone = createStepSampler("only-dae", Float64Array.from(linearBetas(500)));
    expect(sampleSteps(alone, 1, { generator: generator(3) }).weights.item()).toBe(1 / 500);
    expect(first("without-first", 468, 0.1)).toBe(0);
  });
});

test("beta-density: 1 and a density, which has an integral of 1 and its mode at 3 / 3.2", () => {
  const steps = 4000;
  const weights = createStepSampler("beta-density", Float64Array.from(linearBetas(steps))).weights();
  const integral = weights.reduce((sum, w) => sum + (w - 1) / steps, 0);
  expect(integral).toBeCloseTo(1, 3);
  // (a - 1) / (a + b - 2) of Beta(4, 1.2)
  expect(weights.indexOf(Math.max(...weights)) / steps).toBeCloseTo(3 / 3.2, 3);
  expect(weights[0]).toBe(1);
});

describe("the root mean square of losses", () => {
  test("uniform until every step has ten; then a thousandth is, and the rest as the losses say", () => {
    const sampler = new LossSecondMoment(3);
    for (let i = 0; i < 10; i++) sampler.observe([0, 1], [3, 4]);
    for (let i = 0; i < 9; i++) sampler.observe([2], [5]);
    expect(Array.from(sampler.weights())).toEqual([1, 1, 1]);
    sampler.observe([2], [5]);
    const mixed = [3, 4, 5].map((rms) => (rms / 12) * 0.999 + 0.001 / 3);
    close(Array.from(sampler.weights()), mixed, 1e-14, "weights", relative);
    expect(sampler.weights().reduce((sum, w) => sum + w, 0)).toBeCloseTo(1, 14);
  });

  test("a step without losses is drawn all the same", () => {
    const sampler = new LossSecondMoment(4);
    for (let i = 0; i < 10; i++) sampler.observe([0, 1, 2, 3], [0, 1, 1, 1]);
    for (const w of sampler.weights()) expect(w).toBeGreaterThanOrEqual(0.001 / 4);
  });

  test("the last ten count: the eleventh pushes the first out", () => {
    const sampler = new LossSecondMoment(2);
    sampler.observe([0, 1], [1000, 1]);
    for (let i = 0; i < 10; i++) sampler.observe([0, 1], [1, 1]);
    close(Array.from(sampler.weights()), [0.5, 0.5], 1e-14, "weights", relative);
  });

  test("its state goes on elsewhere, half warm and warm", () => {
    for (const calls of [4, 25]) {
      const [sampler, other] = [new LossSecondMoment(2), new LossSecondMoment(2)];
      const observe = (each: LossSecondMoment, i: number) => each.observe([i % 2], [1 + (i % 2)]);
      for (let i = 0; i < calls; i++) observe(sampler, i);
      other.restore(new Map(Object.entries(sampler.state())));
      for (let i = calls; i < calls + 20; i++) for (const each of [sampler, other]) observe(each, i);
      expect(Array.from(other.weights())).toEqual(Array.from(sampler.weights()));
      expect(new Set(sampler.weights()).size).toBe(2);
    }
  });

  test("what is of another chain is refused", () => {
    const state = new Map(Object.entries(new LossSecondMoment(3).state()));
    expect(() => new LossSecondMoment(4).restore(state)).toThrow("expected the losses of 4 steps");
    expect(() => new LossSecondMoment(3).observe([3], [1])).toThrow("expected steps 0 to 2 with a loss each");
  });
});

test("no images, no steps", () => {
  const { t, weights } = sampleSteps(samplerOf("uniform"), 0, { generator: generator(1) });
  expect([t.shape, weights.shape]).toEqual([[0], [0]]);
});
