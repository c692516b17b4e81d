/** The numbers behind the figures, for a system whose answers are closed forms. */
import { describe, expect, test } from "vitest";
import { bitsPerSteps } from "../../src/analysis/bits-per-steps.js";
import { estimatorVariance, meansAndDeviations } from "../../src/analysis/estimator-variance.js";
import type { Drawing, Figure, FigureContext } from "../../src/analysis/figure.js";
import { forward } from "../../src/analysis/forward.js";
import { figureNamed } from "../../src/analysis/index.js";
import { lossPerTime } from "../../src/analysis/loss-per-time.js";
import { losses } from "../../src/analysis/losses.js";
import { samples } from "../../src/analysis/samples.js";
import { schedule } from "../../src/analysis/schedule.js";
import { trajectories } from "../../src/analysis/trajectories.js";
import { FixedLinear, Polynomial10 } from "../../src/diffusion/index.js";
import type { DiffusionSystem } from "../../src/diffusion/system.js";
import { UserError } from "../../src/errors.js";
import { continuousLoss, discreteLoss, priorLoss } from "../vdm/gaussian.js";
import { column, ends, mean, toyContext, toySystem, variance } from "./toy.js";

const { gammaMin, gammaMax } = ends;
/** Expected bits of an interior pixel value at gamma_0 = -13.3, by numerical integration over the noise of z_0. */
const RECONSTRUCTION = 0.0104532;
const PRIOR = priorLoss(mean, variance, gammaMax) / Math.LN2;

async function rowsOf(figure: Figure, context: FigureContext) {
  const { rows } = await figure.draw(context);
  if (!rows) throw new Error("expected a figure with numbers");
  return rows;
}

/** How many standard errors a mean is away from what it estimates. */
const errorsAway = (value: number, standardError: number, expected: number) =>
  Math.abs(value - expected) / standardError;

describe("schedule", () => {
  test("tabulates gamma, its derivative and the ratios that follow from it", async () => {
    const rows = await rowsOf(schedule, toyContext(2, { request: { times: 5 } }));
    expect(column(rows, "t")).toEqual([0, 0.25, 0.5, 0.75, 1]);
    const gamma = [-13.3, -8.725, -4.15, 0.425, 5]; // -13.3 + 18.3 t
    for (const [i, row] of rows.entries()) {
      const g = gamma[i] as number;
      expect(row.gamma).toBeCloseTo(g, 12);
      expect(row.dGamma).toBeCloseTo(18.3, 12);
      expect(Number(row.snr) / Math.exp(-g)).toBeCloseTo(1, 12);
      expect(Number(row.alpha2) + Number(row.sigma2)).toBeCloseTo(1, 14);
      expect(Number(row.alpha2) / Number(row.sigma2) / Math.exp(-g)).toBeCloseTo(1, 9);
    }
    expect(Object.keys(rows[0] ?? {})).not.toContain("gammaStraightLine");
  });

  test("shows what it came from and the straight line where they differ from it", async () => {
    const system = toySystem(new Polynomial10(ends));
    const before = toySystem(new FixedLinear({ gammaMin: -10, gammaMax: 4 }));
    const context = toyContext(2, { system, initial: () => before, request: { times: 3 } });
    const drawing = await schedule.draw(context);
    const [, middle] = drawing.rows ?? [];
    expect(middle?.gamma).toBeCloseTo(2.5 / 1024 + 15.8 / 2 - 13.3, 12); // 5/2 t^10 + (5/2 + 13.3) t - 13.3
    expect(middle?.gammaBeforeTraining).toBeCloseTo(-3, 12);
    expect(middle?.gammaStraightLine).toBeCloseTo(-4.15, 12);
    expect(drawing.kind === "chart" && drawing.chart.svg).toContain("before training");
  });

  test("says that a system has no such schedule, in one line", async () => {
    const { schedule: _, ...rest } = toySystem();
    const system = rest as unknown as DiffusionSystem;
    await expect(schedule.draw(toyContext(2, { system }))).rejects.toThrow(
      'expected a system with one noise schedule for all pixels for figure "schedule", got one without (toy)',
    );
    expect(schedule.fits(system)).toBe(false);
  });
});

test("forward: pixels as they are at t = 0, standard normal ones at t = 1", async () => {
  const context = toyContext(400, { request: { images: 400, times: 2 } });
  const rows = await rowsOf(forward, context);
  expect(rows.length).toBe(800);
  const at = (t: number) =>
    column(
      rows.filter((row) => row.t === t),
      "mean",
    );
  for (const [i, value] of at(0).entries())
    expect(Math.abs(value - (i % 2 === 0 ? -127 : 127) / 256)).toBeLessThan(6 * Math.exp(-13.3 / 2));
  // One pixel an image: alpha_1^2 v + sigma_1^2 = 0.9949 is the variance of 400 of them, known to sqrt(2 / 400) = 7 %.
  const last = at(1);
  const second = last.reduce((sum, value) => sum + value ** 2 / last.length, 0);
  expect(Math.abs(second - 0.9949)).toBeLessThan(4 * 0.07);
});

test("loss-per-time: 1/2 gamma' v SNR / (1 + v SNR) at each time, and their mean", async () => {
  const context = toyContext(512, { request: { images: 512, times: 8 } });
  const rows = await rowsOf(lossPerTime, context);
  for (const row of rows) {
    const snr = Math.exp(13.3 - 18.3 * Number(row.t));
    const expected = (0.5 * 18.3 * variance * snr) / (1 + variance * snr) / Math.LN2;
    expect(errorsAway(Number(row.bitsPerDim), Number(row.standardError), expected)).toBeLessThan(4);
  }
  expect(column(rows, "t")[0]).toBe(1 / 16);
});

test("bits-per-steps: the closed forms of the discrete and the continuous bound", async () => {
  const request = { images: 256, passes: 8, steps: [0, 30, 10] };
  const rows = await rowsOf(bitsPerSteps, toyContext(256, { request }));
  expect(rows.map((row) => row.steps)).toEqual([10, 30, "continuous"]);
  const diffusion = [
    discreteLoss(variance, gammaMin, gammaMax, 10),
    discreteLoss(variance, gammaMin, gammaMax, 30),
    continuousLoss(variance, gammaMin, gammaMax),
  ].map((nats) => nats / Math.LN2);
  for (const [i, row] of rows.entries()) {
    const expected = diffusion[i] as number;
    expect(errorsAway(Number(row.diffusion), Number(row.diffusionStandardError), expected)).toBeLessThan(4);
    const parts = Number(row.reconstruction) + Number(row.prior) + Number(row.diffusion);
    expect(row.bitsPerDim).toBeCloseTo(parts, 9);
    expect(row.prior).toBeCloseTo(PRIOR, 6);
  }
});

describe("estimator-variance", () => {
  test("every schedule gives the bound of the closed form, each with a scatter of its own", async () => {
    const system = toySystem(new Polynomial10(ends));
    const request = { images: 256, passes: 32 };
    const rows = await rowsOf(estimatorVariance, toyContext(256, { system, request, batchSize: 256 }));
    expect(rows.map((row) => row.schedule)).toEqual(["own", "log-SNR-linear", "beta-linear", "alpha-cosine"]);
    const bound = continuousLoss(variance, gammaMin, gammaMax) / Math.LN2 + PRIOR + RECONSTRUCTION;
    for (const row of rows)
      expect(errorsAway(Number(row.bitsPerDim), Number(row.standardError), bound)).toBeLessThan(4);

    // At level gamma the error is e = (1 - g alpha) f - g sigma eps with f^2 = v: E e^4 = A^2 + 6 A B + 3 B^2, and one
    // draw 1/2 s'(gamma) SNR e^2 comes with density 1 / s'(gamma), s' being the schedule's speed where it is at gamma.
    const sigmoid = (u: number) => 1 / (1 + Math.exp(-u));
    const [b0, b1] = [Math.log1p(Math.exp(gammaMin)), Math.log1p(Math.exp(gammaMax))];
    const angle = Math.atan(Math.exp(gammaMax / 2)) - Math.atan(Math.exp(gammaMin / 2));
    const speeds: ((gamma: number) => number)[] = [
      () => 18.3,
      (g) => (2 * Math.sqrt((Math.log1p(Math.exp(g)) - b0) * (b1 - b0))) / sigmoid(g),
      (g) => (2 * angle) / Math.sqrt(sigmoid(g) * sigmoid(-g)),
    ];
    const n = 100_000;
    for (const [which, speed] of speeds.entries()) {
      let second = 0;
      for (let i = 0; i < n; i++) {
        const gamma = gammaMin + (18.3 * (i + 0.5)) / n;
        const [alpha2, sigma2] = [sigmoid(-gamma), sigmoid(gamma)];
        const g = (Math.sqrt(alpha2) * variance) / (alpha2 * variance + sigma2);
        const [A, B] = [(1 - g * Math.sqrt(alpha2)) ** 2 * variance, g * g * sigma2];
        const error4 = A * A + 6 * A * B + 3 * B * B;
        second += speed(gamma) * (Math.exp(-gamma) / 2 / Math.LN2) ** 2 * error4 * (18.3 / n);
      }
      const expected = Math.sqrt(second - (continuousLoss(variance, gammaMin, gammaMax) / Math.LN2) ** 2);
      const row = rows[which + 1];
      const [value, error] = [Number(row?.standardDeviation), Number(row?.standardDeviationError)];
      expect(errorsAway(value, error, expected)).toBeLessThan(4);
      expect(error / expected).toBeLessThan(0.1);
    }
  });

  test("a schedule that is one of the usual ones stands once", async () => {
    const rows = await rowsOf(estimatorVariance, toyContext(4, { request: { images: 4, passes: 2 } }));
    expect(rows.map((row) => row.schedule)).toEqual(["log-SNR-linear (own)", "beta-linear", "alpha-cosine"]);
  });

  test("mean and deviation of two passes of two images, by hand", () => {
    const own = [Float64Array.of(1, 3), Float64Array.of(3, 5)];
    const squares = [Float64Array.of(1, 9), Float64Array.of(9, 25)];
    const [first, other] = meansAndDeviations([
      { bound: own, square: squares },
      {
        bound: [Float64Array.of(2, 4), Float64Array.of(2, 6)],
        square: squares.map((pass) => pass.map((x) => 2 * x)),
      },
    ]);
    // Mean 3, squares about it 4 0 0 4: variance 2 in both passes, error of the mean sqrt(2 / 4).
    expect(first?.mean.mean).toBe(3);
    expect(first?.mean.standardError).toBeCloseTo(Math.SQRT1_2, 14);
    expect(first?.deviation.mean).toBeCloseTo(Math.SQRT2, 14);
    expect(first?.deviation.standardError).toBe(0);
    // 2 E[L^2] - 6 E[L] + 9 in each pass: 10 - 12 + 9 = 7 and 34 - 24 + 9 = 19, 13 +- 6.
    expect(other?.mean.mean).toBe(3.5);
    expect(other?.deviation.mean).toBeCloseTo(Math.sqrt(13), 14);
    expect(other?.deviation.standardError).toBeCloseTo(6 / (2 * Math.sqrt(13)), 14);
  });
});

test("losses: what was recorded, training first, whatever the terms are called", async () => {
  const records = [
    { event: "start", step: 0 },
    { event: "train", step: 10, seconds: 1, bitsPerDim: 6, diffusion: 5, auxiliary: 1, learningRate: 1e-3 },
    { event: "evaluate", step: 10, seconds: 2, bitsPerDim: 6.5, standardError: 0.1, split: "test" },
    {
      event: "train",
      step: 20,
      seconds: 3,
      bitsPerDim: 4,
      diffusion: 3.5,
      auxiliary: 0.5,
      learningRate: 1e-3,
    },
  ] as const;
  const drawing = await losses.draw(toyContext(2, { records }));
  expect(drawing.rows).toEqual([
    { event: "train", step: 10, seconds: 1, bitsPerDim: 6, diffusion: 5, auxiliary: 1, learningRate: 1e-3 },
    {
      event: "train",
      step: 20,
      seconds: 3,
      bitsPerDim: 4,
      diffusion: 3.5,
      auxiliary: 0.5,
      learningRate: 1e-3,
    },
    { event: "evaluate", step: 10, seconds: 2, bitsPerDim: 6.5, standardError: 0.1 },
  ]);
  const svg = drawing.kind === "chart" ? drawing.chart.svg : "";
  for (const name of ["training images", "test images", "diffusion", "auxiliary"])
    expect(svg).toContain(name);
  expect(svg).not.toContain("learningRate");
});

test.each([samples, trajectories])(
  "$name is a picture of as many images as were asked for",
  async (figure) => {
    const drawing: Drawing = await figure.draw(toyContext(2, { request: { images: 3 } }));
    expect(drawing.kind).toBe("picture");
    expect(drawing.settings).toMatchObject({ images: 3, steps: 3, sampler: "ancestral" });
  },
);

test("figures stop between two batches when asked to", async () => {
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  for (const figure of [lossPerTime, bitsPerSteps, estimatorVariance, samples])
    await expect(figure.draw(toyContext(4, { signal }))).rejects.toBe(reason);
});

test("an unknown figure is named with the nearest one", () => {
  expect(() => figureNamed("loss-per-tim")).toThrow(UserError);
  expect(() => figureNamed("loss-per-tim")).toThrow(
    'expected a figure, got "loss-per-tim": did you mean "loss-per-time"?',
  );
});
