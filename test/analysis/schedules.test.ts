/** The schedules that a run's own is compared with, and one schedule run at the pace of another. */
import { describe, expect, test } from "vitest";
import { AlphaCosine, BetaLinear } from "../../src/analysis/comparison-schedules.js";
import { retimed, timesAt } from "../../src/analysis/retiming.js";
import { FixedLinear, type NoiseSchedule, Polynomial10 } from "../../src/diffusion/index.js";
import { linspace, tensor } from "../../src/torch/index.js";

const ends = { gammaMin: -13.3, gammaMax: 5 };
const float64 = { dtype: "float64" } as const;
const gammaAt = (schedule: NoiseSchedule, times: number[]) =>
  schedule.at(tensor(times, float64)).gamma.toArray();

describe.each([
  ["beta-linear", (o: typeof ends) => new BetaLinear(o)],
  ["alpha-cosine", (o: typeof ends) => new AlphaCosine(o)],
])("%s", (_, make) => {
  test.each([ends, { gammaMin: -9, gammaMax: 9 }, { gammaMin: -2, gammaMax: 20 }])(
    "goes from %o, increasing all the way",
    (between) => {
      const gamma = make(between)
        .at(linspace(0, 1, 1001, float64))
        .gamma.toArray();
      expect(gamma[0]).toBeCloseTo(between.gammaMin, 9);
      expect(gamma[1000]).toBeCloseTo(between.gammaMax, 9);
      for (let i = 1; i < gamma.length; i++) expect(gamma[i]).toBeGreaterThan(gamma[i - 1] as number);
    },
  );

  test("has the derivative of its values (central differences, error h^2 / 6 of the third derivative)", () => {
    const schedule = make(ends);
    const times = [0.01, 0.1, 0.3, 0.5, 0.8, 0.99];
    const h = 1e-6;
    const above = gammaAt(
      schedule,
      times.map((t) => t + h),
    );
    const below = gammaAt(
      schedule,
      times.map((t) => t - h),
    );
    const { dGamma } = schedule.at(tensor(times, float64));
    for (const [i, slope] of dGamma.toArray().entries())
      expect(slope / (((above[i] as number) - (below[i] as number)) / (2 * h))).toBeCloseTo(1, 6);
  });
});

test("beta-linear is VDM's form of DDPM's schedule, ln(exp(1e-4 + 10 t^2) - 1), between that one's end points", () => {
  const ddpm = (t: number) => Math.log(Math.expm1(1e-4 + 10 * t * t));
  const schedule = new BetaLinear({ gammaMin: ddpm(0), gammaMax: ddpm(1) });
  const times = [0.001, 0.1, 0.5, 0.9];
  for (const [i, gamma] of gammaAt(schedule, times).entries())
    expect(gamma).toBeCloseTo(ddpm(times[i] as number), 9);
});

test("alpha-cosine between symmetric end points is alpha = sigma, gamma = 0, half way", () => {
  const schedule = new AlphaCosine({ gammaMin: -12, gammaMax: 12 });
  expect(gammaAt(schedule, [0.5])[0]).toBeCloseTo(0, 12);
});

describe("retiming", () => {
  test("finds the time of a level: on a line by division", () => {
    const t = timesAt(new FixedLinear(ends), tensor([-13.3, -4.15, 0, 5], float64)).toArray();
    for (const [i, expected] of [0, 0.5, 13.3 / 18.3, 1].entries()) expect(t[i]).toBeCloseTo(expected, 14);
  });

  test("follows the other schedule's levels, at a rate that is the derivative of the time", () => {
    const own = new Polynomial10(ends);
    const other = new AlphaCosine(ends);
    const h = 1e-6;
    const at = (t: number) => retimed(own, other, tensor([t], float64));
    for (const t of [0.05, 0.4, 0.9]) {
      const { t: u, rate } = at(t);
      expect(own.at(u).gamma.item()).toBeCloseTo(other.at(tensor([t], float64)).gamma.item(), 10);
      const slope = (at(t + h).t.item() - at(t - h).t.item()) / (2 * h);
      expect(rate.item() / slope).toBeCloseTo(1, 5);
    }
  });
});
