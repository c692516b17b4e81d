/** The optimiser's decay by steps and the ramp of its moving average against their closed forms. */
import { describe, expect, test } from "vitest";
import { AdamW, type AdamWOptions, Parameter, zero } from "../../src/nn/index.js";
import { emaRateAt, learningRateAt } from "../../src/nn/optimiser.js";
import { noGrad, tensor } from "../../src/torch/index.js";
import { close } from "../golden.js";

const float64 = { dtype: "float64" } as const;

const options: AdamWOptions = {
  ...{ learningRate: 0.1, betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0, warmupSteps: 0 },
  ...{ decay: "constant", totalSteps: 1000, clipNorm: null, emaRate: 0.998 },
};

/** A parameter of one number, in float64. */
function single(value: number): Parameter {
  const parameter = new Parameter([1], zero);
  parameter.set(tensor([value], float64));
  return parameter;
}

describe("decay by steps: learningRate * factor^floor(k / every)", () => {
  const steps = { ...options, decay: "steps", decayEvery: 500, decayFactor: 0.75 } as const;

  test("falls at every 500th step, whatever the length of the training", () => {
    // 0.75^2 = 0.5625; 0.75^4 = 0.31640625
    const expected = new Map([
      [0, 0.1],
      [499, 0.1],
      [500, 0.075],
      [999, 0.075],
      [1000, 0.05625],
      [2499, 0.031640625],
    ]);
    for (const [k, rate] of expected) expect(learningRateAt(k, steps)).toBeCloseTo(rate, 15);
  });

  test("counts from the first step, after a warm-up too", () => {
    const warmed = { ...steps, warmupSteps: 600 };
    expect(learningRateAt(300, warmed)).toBeCloseTo(0.05, 15);
    expect(learningRateAt(600, warmed)).toBeCloseTo(0.075, 15);
    expect(learningRateAt(1000, warmed)).toBeCloseTo(0.05625, 15);
  });

  test("is what the optimiser's steps use", () => {
    const parameter = single(1);
    const optimiser = new AdamW([parameter], { ...steps, decayEvery: 2, decayFactor: 0.5 });
    const rates = Array.from({ length: 5 }, () => {
      const before = parameter.value.item();
      parameter.value.sum().backward();
      const { learningRate } = optimiser.step();
      // With equal gradients every step of Adam has the length of its rate.
      expect(before - parameter.value.item()).toBeCloseTo(learningRate, 7);
      return learningRate;
    });
    expect(rates).toEqual([0.1, 0.1, 0.05, 0.05, 0.025]);
  });

  test("needs to be told when and how far", () => {
    for (const missing of [{ decayEvery: null }, { decayFactor: undefined }])
      expect(() => learningRateAt(0, { ...steps, ...missing })).toThrow(
        "expected decayEvery and decayFactor",
      );
  });
});

describe("ramp of the moving average: min(rate, (1 + n) / (10 + n))", () => {
  test("begins with 2/11 and ends with the rate", () => {
    const ramp = (n: number, emaRate: number) => emaRateAt(n, { emaRate, emaRamp: "ramp" });
    expect([1, 2, 3].map((n) => ramp(n, 0.998))).toEqual([2 / 11, 3 / 12, 4 / 13]);
    // (1 + n) / (10 + n) < 0.998 as long as n < 4490
    expect(ramp(4489, 0.998)).toBeLessThan(0.998);
    expect(ramp(4491, 0.998)).toBe(0.998);
    expect(emaRateAt(1, { emaRate: 0.998 })).toBe(0.998);
    expect(emaRateAt(1, { emaRate: 0.998, emaRamp: "none" })).toBe(0.998);
  });

  /** What is left of the initial 0 in the average of a parameter that is 1 at each update. */
  function leftAfter(updates: number, own: Partial<AdamWOptions>): number {
    const parameter = single(0);
    const optimiser = new AdamW([parameter], { ...options, learningRate: 0, ...own });
    noGrad(() => parameter.value.copy_(tensor([1], float64)));
    for (let n = 1; n <= updates; n++) {
      parameter.value.sum().backward();
      optimiser.step();
    }
    return 1 - (optimiser.average[0]?.item() ?? Number.NaN);
  }

  test("the initial weights are left with the product of the rates", () => {
    // Of (1 + n) / (10 + n), n = 1 .. N, it is 10! (N + 1)! / (N + 10)!.
    expect(leftAfter(1, { emaRamp: "ramp" })).toBeCloseTo(2 / 11, 14);
    expect(leftAfter(4, { emaRamp: "ramp" })).toBeCloseTo((2 * 3 * 4 * 5) / (11 * 12 * 13 * 14), 14);
    expect(leftAfter(4, { emaRamp: "ramp", emaRate: 0.3 })).toBeCloseTo((2 / 11) * (3 / 12) * 0.3 ** 2, 14);
    expect(leftAfter(4, {})).toBeCloseTo(0.998 ** 4, 14);
  });

  test("a parameter that begins later is averaged by the count of all updates", () => {
    const [steady, late] = [single(0), single(0)];
    const optimiser = new AdamW([steady, late], { ...options, learningRate: 0, emaRamp: "ramp" });
    noGrad(() => late.value.copy_(tensor([1], float64)));
    steady.value.sum().backward();
    optimiser.step();
    steady.value.add(late.value).sum().backward();
    optimiser.step();
    close(optimiser.average[1], [1 - 3 / 12], 1e-14, "average after update 2");
  });
});
