/** The numbers behind the figures of per-pixel schedules and of several runs, where they are closed forms. */
import { describe, expect, test } from "vitest";
import { contextBits } from "../../src/analysis/context-bits.js";
import type { Figure, FigureContext, FigureSubject } from "../../src/analysis/figure.js";
import { densities, noiseHistograms } from "../../src/analysis/noise-histograms.js";
import { noiseMapDeviations, noiseMaps } from "../../src/analysis/noise-maps.js";
import { pixelSchedules } from "../../src/analysis/pixel-schedules.js";
import { blockMeansDistance, qualityPerEvaluations } from "../../src/analysis/quality-per-evaluations.js";
import { firstReach, readingsOf, smoothed } from "../../src/analysis/reach.js";
import { scheduleReplacement } from "../../src/analysis/schedule-replacement.js";
import { scheduleVariance } from "../../src/analysis/schedule-variance.js";
import { drawTrainingCurves } from "../../src/analysis/training-curves.js";
import { memorySource } from "../../src/data/source.js";
import { FixedLinear, type NoiseCurve } from "../../src/diffusion/index.js";
import type { BoundContext, DiffusionSystem } from "../../src/diffusion/system.js";
import type { MetricsRecord } from "../../src/experiment/journal.js";
import {
  arange,
  fromTypedArray,
  full,
  randn,
  Streams,
  type Tensor,
  tensor,
  zeros,
} from "../../src/torch/index.js";
import { discreteLoss, priorLoss } from "../vdm/gaussian.js";
import { column, ends, mean, toyContext, toySystem, variance } from "./toy.js";

async function rowsOf(figure: Figure, context: FigureContext) {
  const { rows } = await figure.draw(context);
  if (!rows) throw new Error("expected a figure with numbers");
  return rows;
}

/** Two channels of two by three pixels; number i of an image in the order `(h W + w) C + c`. */
const shape = [2, 2, 3] as const;
const D = 12;

/** `gamma_i(z, t) = -13.3 + 18.3 t + i z t (1 - t)` of latents z `[B]`. */
const curve = (z: Tensor): NoiseCurve => ({
  at(t) {
    const bend = t
      .mul(t.rsub(1))
      .mul(z)
      .reshape([-1, 1])
      .mul(arange(0, D, 1, { dtype: "float64" }));
    const gamma = t.reshape([-1, 1]).mul(18.3).add(-13.3).add(bend);
    return { gamma, dGamma: gamma };
  },
});
const bend = (t: number) => t * (1 - t);
const line = (t: number) => -13.3 + 18.3 * t;

/** Latents of the prior are -1 and 1 in turn; that of an image is its mean brightness, from 0 to 1. */
const perPixel = {
  shape,
  priorCurve: (count: number) => curve(tensor(Array.from({ length: count }, (_, i) => 2 * (i % 2) - 1))),
  curveOf: ({ pixels }: { readonly pixels: Tensor }) =>
    curve(pixels.to("float64").flatten(1).mean([1]).div(255)),
} as unknown as DiffusionSystem;

/** Image 0 is black, image 1 white. */
const twoImages: Partial<FigureContext> = {
  system: perPixel,
  async openImages() {
    const bytes = Uint8Array.from({ length: 2 * D }, (_, i) => (i < D ? 0 : 255));
    const description = { name: "two", split: "test", origin: "memory", length: 2 } as const;
    return {
      source: memorySource({ ...description, shape }, bytes),
      read: (indices) => ({
        pixels: fromTypedArray(
          Uint8Array.from({ length: indices.length * D }, (_, i) => (indices[Math.floor(i / D)] ? 255 : 0)),
          [indices.length, ...shape],
        ),
      }),
    };
  },
};

test("schedule-variance: (i t (1 - t))^2 Var z, Var z = 128/127 over 128 latents of -1 and 1", async () => {
  const rows = await rowsOf(scheduleVariance, toyContext(2, { ...twoImages, request: { times: 5 } }));
  expect(column(rows, "t")).toEqual([0, 0.25, 0.5, 0.75, 1]);
  for (const row of rows) {
    const unit = (bend(Number(row.t)) ** 2 * 128) / 127;
    expect(row.mean).toBeCloseTo((unit * 506) / 12, 9); // sum of i^2, i = 0 .. 11, is 506
    expect(row.high).toBeCloseTo(unit * 121, 9);
    expect(row.low).toBeCloseTo(0, 9);
    expect(row.meanOfLog10Snr).toBeCloseTo((unit * 506) / 12 / 5.301898110478399, 9); // (ln 10)^2
    expect(Number(row.h1w0c1)).toBeCloseTo(unit * 49, 3); // i = (1 * 3 + 0) * 2 + 1 = 7; six digits
  }
});

test("pixel-schedules: every pixel of an image, the line between the ends, and the spread", async () => {
  const rows = await rowsOf(pixelSchedules, toyContext(2, { ...twoImages, request: { times: 3 } }));
  expect(column(rows, "image")).toEqual([0, 0, 0, 1, 1, 1]);
  for (const row of rows) {
    const t = Number(row.t);
    const z = Number(row.image);
    expect(row.straightLine).toBeCloseTo(line(t), 12);
    expect(row.mean).toBeCloseTo(line(t) + 5.5 * z * bend(t), 9);
    expect(row.deviation).toBeCloseTo(z * bend(t) * Math.sqrt(143 / 12), 9); // of 0 .. 11: (12^2 - 1) / 12
    expect(row.h1w2c1).toBeCloseTo(line(t) + 11 * z * bend(t), 3);
  }
});

describe("noise maps", () => {
  /** Position p holds channels 2 p and 2 p + 1: their mean is 2 p + 1/2. */
  const position = (p: number) => 2 * p + 0.5;

  test("gamma at the middles of intervals of time, the mean over channels", async () => {
    const rows = await rowsOf(noiseMaps, toyContext(2, { ...twoImages, request: { times: 2 } }));
    expect(rows.map((row) => [row.of, row.t])).toEqual(
      ["mean over z", "image 0", "image 1"].flatMap((name) => [
        [name, 0.25],
        [name, 0.75],
      ]),
    );
    for (const row of rows) {
      const t = Number(row.t);
      const z = row.of === "image 1" ? 1 : 0; // -1 and 1 have the mean 0
      expect(row.low).toBeCloseTo(line(t) + z * bend(t) * position(0), 9);
      expect(row.high).toBeCloseTo(line(t) + z * bend(t) * position(5), 9);
      expect(row.h0w2).toBeCloseTo(line(t) + z * bend(t) * position(2), 3);
    }
  });

  test("and their distance from the line", async () => {
    const drawing = await noiseMapDeviations.draw(
      toyContext(2, { ...twoImages, request: { times: 1, images: 2 } }),
    );
    const [prior, black, white] = drawing.rows ?? [];
    expect(prior?.high).toBeCloseTo(0, 9);
    expect(black?.low).toBeCloseTo(0, 9);
    expect(white?.h1w1).toBeCloseTo(position(4) / 4, 5);
    expect(drawing.kind === "picture" && drawing.svg).toContain("image 1");
  });

  test("histograms are shares over widths", async () => {
    // 40 bins over [0, 4): each 0.1 wide.
    const heights = densities([0.05, 0.06, 3.99, 4], 0, 4);
    expect(heights[0]).toBeCloseTo(2 / 4 / 0.1, 12);
    expect(heights[39]).toBeCloseTo(2 / 4 / 0.1, 12);
    expect(heights.slice(1, 39).every((height) => height === 0)).toBe(true);

    const rows = await rowsOf(noiseHistograms, toyContext(2, { ...twoImages, request: { times: 1 } }));
    const area = (name: string) =>
      rows.reduce((sum, row) => sum + Number(row[name]) * (Number(row.high) - Number(row.low)), 0);
    expect(area("prior")).toBeCloseTo(1, 9);
    expect(area("images")).toBeCloseTo(1, 9);
    // z = -1: down to -4.15 - 11/4, z = 1: up to -4.15 + 11/4
    expect(rows[0]?.low).toBeCloseTo(-6.9, 9);
    expect(rows.at(-1)?.high).toBeCloseTo(-1.4, 9);
  });

  test("say of a system without them that it has none", async () => {
    await expect(noiseMaps.draw(toyContext(2))).rejects.toThrow(
      'expected a system with a noise schedule for every pixel for figure "noise-maps", got one without (toy)',
    );
  });
});

test("schedule-replacement: the same draws under each schedule, and its own afterwards", async () => {
  // A bound of standard normal noise in bits, and 1 and 2 bits on top for the replacements.
  const extra = { own: 0, mean: 1, linear: 2 };
  let schedule: keyof typeof extra = "own";
  const system = {
    shape: [1, 1, 1],
    bound({ pixels }: { readonly pixels: Tensor }, { streams }: BoundContext) {
      const noise = randn([pixels.dim(0)], streams.generator("noise"), { dtype: "float64" });
      const none = zeros([pixels.dim(0)], { dtype: "float64" });
      return { reconstruction: none, prior: none, diffusion: noise.add(extra[schedule]).mul(Math.LN2) };
    },
    replaceSchedule(by: "mean" | "linear" | undefined) {
      schedule = by ?? "own";
    },
  } as unknown as DiffusionSystem;
  const request = { images: 100, passes: 2 };
  const rows = await rowsOf(scheduleReplacement, toyContext(100, { system, request }));
  expect(rows.map((row) => row.schedule)).toEqual(["own", "mean over pixels", "straight line"]);
  for (const [i, row] of rows.entries()) {
    expect(row.difference).toBeCloseTo(i, 12);
    expect(row.differenceStandardError).toBeCloseTo(0, 12);
    // 100 means of two draws: sqrt(1/200) = 0.0707, known to 1 / sqrt(198) = 7 %.
    expect(Math.abs(Number(row.standardError) - 0.0707)).toBeLessThan(4 * 0.005);
  }
  expect(schedule).toBe("own");
});

describe("context-bits", () => {
  const other = (more: Partial<FigureSubject>): FigureSubject => ({
    ...toyContext(256),
    name: "other",
    ...more,
  });
  /** Bits of an interior pixel value at gamma_0 = -13.3, by numerical integration over the noise of z_0. */
  const RECONSTRUCTION = 0.0104532;

  test("the closed form of the discrete bound for every run at every T", async () => {
    const gammaMax = 3;
    const system = toySystem(new FixedLinear({ ...ends, gammaMax }));
    const request = { images: 256, passes: 4, steps: [30, 10] };
    const rows = await rowsOf(contextBits, toyContext(256, { request, others: [other({ system })] }));
    expect(rows.map(({ run, steps }) => [run, steps])).toEqual([
      ["toy", 10],
      ["toy", 30],
      ["other", 10],
      ["other", 30],
    ]);
    for (const row of rows) {
      const end = row.run === "toy" ? ends.gammaMax : gammaMax;
      const nats =
        priorLoss(mean, variance, end) + discreteLoss(variance, ends.gammaMin, end, Number(row.steps));
      const expected = RECONSTRUCTION + nats / Math.LN2;
      const away = Math.abs(Number(row.bitsPerDim) - expected) / Number(row.standardError);
      expect(away).toBeLessThan(4);
    }
  });

  test("refuses continuous time, other images and runs without a bound, in one line", async () => {
    const context = (more: Partial<FigureContext>) =>
      toyContext(4, { request: { images: 4, steps: [2] }, ...more });
    await expect(contextBits.draw(context({ request: { steps: [0] } }))).rejects.toThrow(
      "draw bits-per-steps",
    );
    await expect(contextBits.draw(context({ others: [other({})] }))).rejects.toThrow(
      "expected runs on one data set (toy test), got toy test with toy: leave that run out",
    );
    const without = { shape: [1, 1, 1] } as unknown as DiffusionSystem;
    await expect(contextBits.draw(context({ others: [other({ system: without })] }))).rejects.toThrow(
      "expected runs with a likelihood bound",
    );
  });
});

describe("training-curves", () => {
  /** Readings every 50 steps up to 1000, 3 seconds apart (2 of the processor's): `10 - step * slope` bits. */
  const records = (slope: number, device = "cpu"): readonly MetricsRecord[] => [
    { event: "start", step: 0, seconds: 0, provenance: { device } },
    ...Array.from({ length: 20 }, (_, i): MetricsRecord => {
      const step = 50 * (i + 1);
      const clocks = { seconds: 3 * (i + 1), cpuSeconds: 2 * (i + 1) };
      return { event: "train", step, ...clocks, bitsPerDim: 10 - step * slope };
    }),
    { event: "evaluate", step: 1000, seconds: 60, cpuSeconds: 40, bitsPerDim: 6, standardError: 0.1 },
  ];

  test("readings, their running mean over steps, and the first one at a bound", () => {
    const readings = readingsOf(records(1 / 200), "train");
    expect(readings[1]).toEqual({ step: 100, minutes: 0.1, bitsPerDim: 9.5 });
    const smooth = smoothed(readings, 100);
    expect(smooth[0]?.bitsPerDim).toBeCloseTo(9.75, 12);
    expect(smooth[1]?.bitsPerDim).toBeCloseTo((9.75 + 9.5) / 2, 12); // of steps 50 and 100
    expect(firstReach(smooth, 9.3)?.step).toBe(200); // 9.125; at 150 it is 9.375
    expect(firstReach(smooth, 1)).toBeUndefined();
  });

  test("the part of its steps and minutes in which each run reaches the first one's end", () => {
    const runs = [
      { name: "control", records: records(1 / 200) },
      { name: "fast", records: records(1 / 100) },
      { name: "slow", records: records(1 / 400) },
    ];
    const { settings, rows } = drawTrainingCurves(runs);
    // Over the last 100 steps the control is at (5.25 + 5) / 2; the fast one is at 10 - (step - 25) / 100.
    expect(settings).toMatchObject({ smoothedOverSteps: 100, target: 5.125, clock: "cpuSeconds" });
    expect(settings.reach).toEqual([
      { run: "control", step: 1000, minutes: 40 / 60, partOfSteps: 1, partOfMinutes: 1 },
      { run: "fast", step: 550, minutes: 22 / 60, partOfSteps: 0.55, partOfMinutes: 0.55 },
      { run: "slow", step: null, minutes: null, partOfSteps: null, partOfMinutes: null },
    ]);
    expect(rows?.filter(({ event }) => event === "evaluate")).toHaveLength(3);
  });

  test("goes by the clock on the wall where a run was not trained on a processor", () => {
    const runs = ["cpu", "cuda:0"].map((device) => ({ name: device, records: records(1 / 200, device) }));
    expect(drawTrainingCurves(runs).settings).toMatchObject({ clock: "seconds" });
  });
});

describe("quality-per-evaluations", () => {
  test("a shift of all pixels by 51 of 255 is 49 times 0.2 squared away, whatever is resampled", () => {
    const bytes = (shift: number) => Uint8Array.from({ length: 64 * 49 }, (_, i) => ((i * i) % 97) + shift);
    const images = (shift: number) => fromTypedArray(bytes(shift), [64, 1, 7, 7]);
    const generator = new Streams(0).generator("bootstrap");
    expect(blockMeansDistance(images(51), images(0), generator).mean).toBeCloseTo(49 * 0.04, 8);
    const white = full([64, 1, 7, 7], 255).to("uint8");
    const black = full([64, 1, 7, 7], 0).to("uint8");
    // All images alike: resamples do not differ.
    expect(blockMeansDistance(white, black, generator)).toEqual({
      mean: expect.closeTo(49, 9),
      standardError: expect.closeTo(0, 9),
    });
  });

  test("counts evaluations, and finds samples of the right law close to the images", async () => {
    const request = { images: 256, steps: [2, 20] };
    const rows = await rowsOf(qualityPerEvaluations, toyContext(256, { request }));
    const stepping = rows.filter((row) => row.steps !== undefined);
    expect(stepping.map((row) => [row.sampler, row.evaluations])).toEqual(
      ["ancestral", "ddim", "reverse-sde"].flatMap((name) => [
        [name, 2],
        [name, 20],
      ]),
    );
    const adaptive = rows.filter((row) => row.sampler === "ode");
    const costs = column(adaptive, "evaluations");
    expect(column(adaptive, "tolerance")).toEqual([0.1, 0.03, 0.01, 0.003, 0.001]);
    expect(costs.every((cost) => cost % 6 === 2)).toBe(true); // 2 to choose the first step, 6 for each step
    expect(costs.at(-1)).toBeGreaterThan(costs[0] ?? Number.NaN);
    // One pixel fills all 49 blocks. Cut to [-1, 1], N(0, v) has 0.9233 of v: (1 - 0.9609)^2 * 0.249^2 * 49 = 0.005,
    // and as much again of the error of a mean and a deviation of 256 numbers. Noise itself would be 0.5 away.
    expect(adaptive.at(-1)?.distance).toBeLessThan(0.1);
    // The same image values among training images.
    expect(rows.at(-1)).toMatchObject({ run: "training images", distance: expect.closeTo(0, 9) });
  });
});
