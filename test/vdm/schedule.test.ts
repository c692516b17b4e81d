/** Schedules rise, their derivatives are derivatives, and times are spread as they should. */
import { describe, expect, test } from "vitest";
import {
  createSchedule,
  discretiseTimes,
  LearnedLinear,
  lowDiscrepancyTimes,
  MonotonePaper,
  sampleTimes,
  scheduleSchema,
} from "../../src/diffusion/index.js";
import { Generator, linspace, noGrad, rand, randn, Streams, tensor } from "../../src/torch/index.js";
import { close, same } from "../golden.js";
import { readmeEnds } from "./toy.js";

const float64 = { dtype: "float64" } as const;
const kinds = ["fixed", "polynomial10", "learned-linear", "monotone-code", "monotone-paper"] as const;

describe.each(kinds)("%s", (kind) => {
  const schedule = createSchedule(scheduleSchema.parse({ kind }));
  schedule.initialise(new Streams(1), float64);

  test("starts at -13.3 and ends at 5", () => {
    const { gamma0, gamma1 } = schedule.ends();
    // The code's monotone network pins neither end: its 1,024 small kernels move them a little.
    const tolerance = kind === "monotone-code" ? 1e-3 : 1e-13;
    close(gamma0, [-13.3], tolerance, "gamma(0)");
    close(gamma1, [5], tolerance, "gamma(1)");
  });

  test("rises everywhere", () => {
    const { gamma, dGamma } = schedule.at(linspace(0, 1, 1001, float64));
    const rises = gamma.slice(0, 1).sub(gamma.slice(0, 0, 1000));
    expect(rises.min().item()).toBeGreaterThan(0);
    expect(dGamma.min().item()).toBeGreaterThan(0);
  });

  test("its derivative is the limit of differences", () => {
    const t = linspace(0.01, 0.99, 50, float64);
    const h = 1e-5; // the central difference is off by h^2 gamma''' / 6 and 1e-15 / h
    const difference = schedule
      .at(t.add(h))
      .gamma.sub(schedule.at(t.sub(h)).gamma)
      .div(2 * h);
    close(schedule.at(t).dGamma, difference, 1e-7, "gamma'");
  });

  test("values have the shape of the times", () => {
    for (const shape of [[], [1], [3], [2, 3]]) {
      const { gamma, dGamma } = schedule.at(rand(shape, new Generator({ seed: 1 }), float64));
      expect([gamma.shape, dGamma.shape]).toEqual([shape, shape]);
    }
  });

  test("neighbouring levels keep their digits where the parameters are float32", () => {
    const coarse = createSchedule(scheduleSchema.parse({ kind })).initialise(new Streams(1));
    const { gamma } = coarse.at(tensor([0.5, 0.5 + 1e-9], float64));
    const [a, b] = gamma.toArray() as [number, number];
    const slope = coarse.at(tensor([0.5], float64)).dGamma.item();
    expect(Math.abs((b - a) / 1e-9 / slope - 1)).toBeLessThan(1e-4);
  });
});

test("the sign of the learned slope does not matter", () => {
  const at = (w: number) =>
    new LearnedLinear(readmeEnds)
      .load(
        new Map([
          ["w", tensor([w], float64)],
          ["b", tensor([-2], float64)],
        ]),
      )
      .at(linspace(0, 1, 5, float64));
  close(at(-3).gamma, at(3).gamma, 0, "gamma");
  close(at(-3).gamma, [-2, -1.25, -0.5, 0.25, 1], 1e-15, "gamma");
  close(at(-3).dGamma, [3, 3, 3, 3, 3], 0, "gamma'");
});

test("the paper's network hits its ends whatever is inside", () => {
  const schedule = new MonotonePaper({ gammaMin: -7, gammaMax: 2, hidden: 32 }).initialise(
    new Streams(1),
    float64,
  );
  noGrad(() => {
    for (const parameter of schedule.split().interior)
      parameter.value.copy_(randn(parameter.shape, new Generator({ seed: 6 }), float64));
  });
  const { gamma0, gamma1 } = schedule.ends();
  close([gamma0.item(), gamma1.item()], [-7, 2], 1e-15, "ends");
});

test("a schedule that would fall is refused", () => {
  expect(() => scheduleSchema.parse({ kind: "fixed", gammaMin: 1, gammaMax: 0 })).toThrow(
    /gammaMin below gammaMax/,
  );
});

describe("times", () => {
  test.each([1, 2, 7, 49, 128])("%i of them lie 1/B apart", (B) => {
    const t = sampleTimes("low-discrepancy", B, new Generator({ seed: 9 }), "cpu");
    expect(t.dtype).toBe("float64");
    const sorted = t.toArray().sort((a, b) => a - b);
    expect(sorted).toHaveLength(B);
    expect(sorted[0]).toBeGreaterThanOrEqual(0);
    expect(sorted[0]).toBeLessThan(1 / B);
    const gaps = sorted.slice(1).map((time, i) => time - (sorted[i] as number));
    for (const gap of gaps) expect(Math.abs(gap * B - 1)).toBeLessThan(1e-12);
  });

  test.each(["low-discrepancy", "uniform"] as const)("each by itself is uniform: %s", (sampling) => {
    const generator = new Generator({ seed: 10 });
    const draws = 4000;
    const third = Array.from(
      { length: draws },
      () => sampleTimes(sampling, 5, generator, "cpu").toArray()[2] as number,
    );
    third.sort((a, b) => a - b);
    // Kolmogorov-Smirnov: sup |F_n - F| exceeds 1.95 / sqrt(n) once in a thousand
    const distance = Math.max(...third.map((t, i) => Math.max(t - i / draws, (i + 1) / draws - t)));
    expect(distance).toBeLessThan(1.95 / Math.sqrt(draws));
  });

  test("uniform times are independent draws", () => {
    const t = sampleTimes("uniform", 64, new Generator({ seed: 11 }), "cpu").toArray();
    const gaps = t
      .sort((a, b) => a - b)
      .slice(1)
      .map((time, i) => time - (t[i] as number));
    expect(Math.max(...gaps) - Math.min(...gaps)).toBeGreaterThan(1 / 64);
  });

  test("the step a time falls in", () => {
    const t = lowDiscrepancyTimes(tensor(0, float64), 4); // 0, 1/4, 1/2, 3/4
    const chain = discretiseTimes(t, 4);
    same(chain.i, tensor([1, 2, 3, 4]), "i");
    close(chain.t, [0.25, 0.5, 0.75, 1], 0, "t");
    close(chain.s, [0, 0.25, 0.5, 0.75], 0, "s");
    const ends = discretiseTimes(tensor([0, 1 - 2 ** -53], float64), 1000);
    same(ends.i, tensor([1, 1000]), "i at the ends");
    same(discretiseTimes(tensor([0, 0.3, 1 - 2 ** -53], float64), 1).i, tensor([1, 1, 1]), "a single step");
  });
});
