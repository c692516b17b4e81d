/** The optimiser's first step, its rates, clipping and moving average; the minimum-variance gradient against its meaning. */
import { describe, expect, test } from "vitest";
import {
  bitsPerDim,
  FixedLinear,
  LearnedLinear,
  MonotonePaper,
  totalBound,
} from "../../src/diffusion/index.js";
import { AdamW, type AdamWOptions, globalNorm, learningRateAt, Parameter, zero } from "../../src/nn/index.js";
import { VDM } from "../../src/systems/vdm.js";
import {
  clearGradients,
  Generator,
  grad,
  noGrad,
  rand,
  randn,
  Streams,
  tensor,
} from "../../src/torch/index.js";
import { close } from "../golden.js";
import { GaussianDenoiser } from "./gaussian.js";
import { readmeEnds } from "./toy.js";

const float64 = { dtype: "float64" } as const;

const defaults: AdamWOptions = {
  learningRate: 0.1,
  betas: [0.9, 0.99],
  epsilon: 1e-8,
  weightDecay: 0.01,
  warmupSteps: 100,
  decay: "constant",
  totalSteps: 1000,
  clipNorm: null,
  emaRate: 0.9,
};

function parameterOf(values: readonly number[]): Parameter {
  const parameter = new Parameter([values.length], zero);
  parameter.set(tensor(values, float64));
  return parameter;
}

/** An optimiser of one parameter, and a step of it with a given gradient. */
function optimise(values: readonly number[], options: Partial<AdamWOptions>) {
  const parameter = parameterOf(values);
  const optimiser = new AdamW([parameter], { ...defaults, ...options });
  const step = (gradient: readonly number[]) => {
    parameter.value.mul(tensor(gradient, float64)).sum().backward();
    return optimiser.step();
  };
  return { parameter, optimiser, step };
}

describe("AdamW", () => {
  test("the first step of a warm-up moves nothing but the moments", () => {
    const { parameter, optimiser, step } = optimise([1, -2], {});
    expect(step([3, 4]).learningRate).toBe(0);
    close(parameter.value.detach(), [1, -2], 0, "parameter");
    close(optimiser.average[0], [1, -2], 0, "average");
    close(optimiser.first[0], [0.1 * 3, 0.1 * 4], 1e-15, "first moment");
    close(optimiser.second[0], [0.01 * 9, 0.01 * 16], 1e-15, "second moment");
    expect(parameter.value.grad).toBeNull();
  });

  test("the first step without warm-up has length lr (1 + decay p), whatever the gradient's", () => {
    const { parameter, optimiser, step } = optimise([1, -2], { warmupSteps: 0 });
    step([1e-3, -50]);
    // m_hat / sqrt(v_hat) is the gradient's sign after one step
    const expected = [1 - 0.1 * (1 + 0.01), -2 - 0.1 * (-1 + 0.01 * -2)];
    close(parameter.value.detach(), expected, 1e-4, "parameter");
    const moved = parameter.value.detach().toArray();
    close(
      optimiser.average[0],
      [1 + 0.1 * ((moved[0] ?? 0) - 1), -2 + 0.1 * ((moved[1] ?? 0) + 2)],
      1e-14,
      "average",
    );
  });

  test("a parameter begins with its first gradient: before it stands still, then it goes as if the steps were its first", () => {
    const [late, steady] = [parameterOf([1, -2]), parameterOf([3])];
    const options = { ...defaults, warmupSteps: 0 };
    const optimiser = new AdamW([steady, late], options);
    const alone = optimise([1, -2], { warmupSteps: 0 });
    const stepBoth = (gradient?: readonly number[]) => {
      const loss = steady.value.sum();
      const own = gradient && late.value.mul(tensor(gradient, float64)).sum();
      (own ? loss.add(own) : loss).backward();
      optimiser.step();
    };
    stepBoth();
    stepBoth();
    expect(late.value.toArray()).toEqual([1, -2]);
    for (const gradient of [[1, 2], [-3, 1], undefined]) {
      stepBoth(gradient);
      alone.step(gradient ?? [0, 0]);
      expect(late.value.toArray()).toEqual(alone.parameter.value.toArray());
    }
    expect(late.value.toArray()).not.toEqual([1, -2]);
  });

  test("no weight decay where a parameter asks for none", () => {
    const parameter = new Parameter([1], zero, { decay: false });
    parameter.set(tensor([5], float64));
    const optimiser = new AdamW([parameter], { ...defaults, warmupSteps: 0 });
    optimiser.step(); // no gradient, so gradient 0
    close(parameter.value.detach(), [5], 0, "parameter");
  });

  test("clipping scales all gradients together to the largest norm", () => {
    const { optimiser, step } = optimise([0, 0], { clipNorm: 1 });
    step([3, 4]);
    close(optimiser.first[0], [0.1 * 0.6, 0.1 * 0.8], 1e-11, "clipped");
    const other = optimise([0, 0], { clipNorm: 10 });
    other.step([3, 4]);
    close(other.optimiser.first[0], [0.1 * 3, 0.1 * 4], 1e-15, "within the norm");
    expect(globalNorm([tensor([3], float64), tensor([[4]], float64)])).toBeCloseTo(5, 14);
  });

  test("rates: warm-up, then constant, linear or cosine", () => {
    const rate = (k: number, decay: AdamWOptions["decay"]) => learningRateAt(k, { ...defaults, decay });
    expect(rate(50, "cosine")).toBeCloseTo(0.05, 15);
    for (const decay of ["constant", "linear", "cosine"] as const) expect(rate(100, decay)).toBe(0.1);
    expect(rate(5000, "constant")).toBe(0.1);
    expect(rate(325, "linear")).toBeCloseTo(0.075, 15); // a quarter of the way from 100 to 1000
    expect(rate(325, "cosine")).toBeCloseTo(0.05 * (1 + Math.SQRT1_2), 15);
    for (const decay of ["linear", "cosine"] as const) expect(rate(1000, decay)).toBeCloseTo(0, 15);
    expect(rate(2000, "linear")).toBe(0);
  });

  test("the average takes the parameters' place for a while, and they come back", () => {
    const { parameter, optimiser, step } = optimise([1], { warmupSteps: 0 });
    step([1]);
    const [value, average] = [parameter.value.item(), optimiser.average[0]?.item()];
    expect(average).not.toBe(value);
    const other = tensor([1], float64).requireGrad();
    const seen = optimiser.averaged(() => ({
      value: parameter.value.item(),
      tracked: other.mul(2).requiresGrad,
    }));
    expect(seen).toEqual({ value: average, tracked: false });
    expect(parameter.value.item()).toBe(value);
    expect(() =>
      optimiser.averaged(() => {
        throw new Error("interrupted");
      }),
    ).toThrow("interrupted");
    expect(parameter.value.item()).toBe(value);
    expect(parameter.value.mul(2).requiresGrad).toBe(true);
  });
});

describe("minimum-variance gradient", () => {
  const schedule = new MonotonePaper({ ...readmeEnds, hidden: 8 }).initialise(new Streams(1), float64);
  noGrad(() => {
    const generator = new Generator({ seed: 2 });
    for (const { value, shape } of [schedule.l2Kernel, schedule.l2Bias, schedule.l3Kernel])
      value.copy_(randn(shape, generator, float64));
  });
  const denoiser = new GaussianDenoiser(0.2, 0.3, "v");
  const common = { shape: [2, 3, 3], schedule, denoiser, prediction: "v" } as const;
  const plain = new VDM(common);
  const vdm = new VDM({ ...common, scheduleGradient: "minimum-variance" });
  const generator = new Generator({ seed: 3 });
  const x = rand([6, 2, 3, 3], generator, float64).mul(256).floor();
  const draws = {
    t: rand([6], generator, float64),
    eps: randn(x.shape, generator, float64),
    eps0: randn(x.shape, generator, float64),
  };
  const { interior, ends } = schedule.split();

  clearGradients(vdm.parameters().map(({ value }) => value));
  vdm.backward(vdm.objectiveAt(x, draws, { pass: {} }));

  test("inside the schedule it is the gradient of the mean of L^2", () => {
    const { diffusion } = plain.evaluate(x, draws, { pass: {} }).bound;
    const moment = bitsPerDim(diffusion, plain.dimensions).square().mean();
    const values = interior.map(({ value }) => value);
    for (const [i, gradient] of grad([moment], values).entries())
      close(values[i]?.grad, gradient ?? [], 1e-9, `interior parameter ${i}`, {
        absolute: 1e-12 * moment.item(), // the last bias cancels
      });
  });

  test("at its ends and in the network it is that of the bound", () => {
    const { bound } = plain.evaluate(x, draws, { pass: {} });
    const bits = bitsPerDim(totalBound(bound), plain.dimensions).mean();
    const values = [...ends, ...denoiser.parameters()].map(({ value }) => value);
    for (const [i, gradient] of grad([bits], values).entries())
      close(values[i]?.grad, gradient ?? [], 1e-9, `parameter ${i}`);
  });

  test("the bound itself is the same", () => {
    const { loss } = vdm.objectiveAt(x, draws, { pass: {} });
    close(loss, plain.objectiveAt(x, draws, { pass: {} }).loss, 1e-15, "bound");
  });

  test.each([new FixedLinear(readmeEnds), new LearnedLinear(readmeEnds)])(
    "needs a schedule with ends of its own",
    (other) => {
      const make = () => new VDM({ ...common, schedule: other, scheduleGradient: "minimum-variance" });
      expect(make).toThrow(/end points are separate parameters/);
    },
  );

  test("needs continuous time, where the bound does not depend on the inside", () => {
    const make = () => new VDM({ ...common, steps: 10, scheduleGradient: "minimum-variance" });
    expect(make).toThrow(/continuous time/);
  });
});
