/** The numbers behind the figures of discrete chains, where they are closed forms. */
import { describe, expect, test } from "vitest";
import { boundPerStep } from "../../src/analysis/bound-per-step.js";
import { boundSharesFigure } from "../../src/analysis/bound-shares.js";
import { boundShares, chosenSteps, termsOfAll } from "../../src/analysis/bound-steps.js";
import type { Figure, FigureContext } from "../../src/analysis/figure.js";
import { crossing, logSnrFigure } from "../../src/analysis/log-snr.js";
import { qualityPerSplit } from "../../src/analysis/quality-per-split.js";
import { cosineBetas, linearBetas } from "../../src/diffusion/chain/betas.js";
import { logSnr } from "../../src/diffusion/chain/log-snr.js";
import { chainTables } from "../../src/diffusion/chain/tables.js";
import type { QualityResult } from "../../src/experiment/quality-results.js";
import { DAED } from "../../src/systems/daed.js";
import { chainContext, knownDaed, knownDdgm, x0 } from "./chain-toy.js";
import { column, toySystem } from "./toy.js";

async function drawn(figure: Figure, context: FigureContext) {
  const { rows, settings } = await figure.draw(context);
  if (!rows) throw new Error("expected a figure with numbers");
  return { rows, settings: settings as Readonly<Record<string, unknown>> };
}

/** 0.2, 0.25, 0.3, 0.35, 0.4 */
const betas = linearBetas(5);
const tables = chainTables(betas);
const at = (name: "alphasCumprod" | "posteriorVariance", t: number) => tables[name][t] as number;

describe("log-snr", () => {
  // DAED's section 6 and figure 1, computed for mean squares of CIFAR-10, Fashion-MNIST and all-white images.
  test.each([
    { m: 0.25, linear: 0.109, cosine: 0.29 },
    { m: 0.68, linear: 0.186, cosine: 0.43 },
    { m: 1, linear: 0.222, cosine: 0.5 },
  ])("passes 0 at a tenth to a fifth of linear chains, a quarter to half of cosine ones: m = $m", (of) => {
    const zeroOf = (given: readonly number[]) =>
      crossing(logSnr(chainTables(given), [Math.log(of.m)]).mean) ?? Number.NaN;
    expect(zeroOf(linearBetas(1000))).toBeCloseTo(of.linear, 3);
    expect(zeroOf(cosineBetas(1000))).toBeCloseTo(of.cosine, 2);
  });

  test("falls most over the first steps of the linear chain", async () => {
    const system = knownDdgm(linearBetas(1000));
    const { rows, settings } = await drawn(logSnrFigure, chainContext(3, { system }));
    const [linear] = settings.schedules as readonly [
      { readonly schedule: string; readonly deviation: number; readonly changes: ChangesAt },
    ];
    expect(linear).toMatchObject({ schedule: "linear (this model)" });
    expect(linear.deviation).toBeCloseTo(0, 9);
    for (const [i, change] of [-0.7031, -0.4154, -0.2975].entries())
      expect(linear.changes.first[i]).toBeCloseTo(change, 4);
    expect(linear.changes.afterTenth).toBeCloseTo(-0.01623, 5);
    expect(linear.changes.last).toBeCloseTo(-0.0202, 4);
    expect(new Set(rows.map(({ schedule }) => schedule))).toEqual(new Set(["linear (this model)", "cosine"]));
    // ln(0.999 / 0.001) + ln x0^2
    expect(rows[0]?.mean).toBeCloseTo(Math.log(999) + Math.log(x0 ** 2), 9);
  });

  test("a schedule of the model's own stands beside the two; one with betas of 1 is left out", async () => {
    const own = [0.1, 0.2, 0.3, 0.4];
    const schedules = async (given: readonly number[]) => {
      const { rows } = await drawn(logSnrFigure, chainContext(2, { system: knownDdgm(given) }));
      return [...new Set(rows.map(({ schedule }) => schedule))];
    };
    expect(await schedules(own)).toEqual(["linear", "cosine", "this model"]);
    expect(await schedules(Array.from({ length: 12 }, () => 0.2))).toEqual(["cosine", "this model"]);
  });

  test("a curve that is never above 0, or never below, does not pass it", () => {
    expect(crossing([-1, -2])).toBeNull();
    expect(crossing([2, 1])).toBeNull();
    expect(crossing([3, 1, -1, -2])).toBeCloseTo(1.5 / 4, 12);
  });
});

interface ChangesAt {
  readonly first: readonly number[];
  readonly afterTenth: number;
  readonly last: number;
}

/** `beta^2 / (2 sigma^2 alpha (1 - abar)) offset^2` nats of a pixel, sigma^2 the posterior's variance (DAED, eq. 7). */
function termAt(t: number, offset: number): number {
  const beta = betas[t] as number;
  const weight = beta ** 2 / (2 * at("posteriorVariance", t) * (1 - beta) * (1 - at("alphasCumprod", t)));
  return (weight * offset ** 2) / Math.LN2;
}

/** Bits of a level's bin of width 2/255 about a normal distribution that is off by `shift`, its cdf by tanh (DAED, eq. 5). */
function firstTerm(shift: number, variance: number): number {
  const cdf = (u: number) => {
    const z = u / Math.sqrt(variance);
    return (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3))) / 2;
  };
  return -Math.log2(cdf(1 / 255 - shift) - cdf(-1 / 255 - shift));
}

describe("bound-per-step", () => {
  test("what a network that knows the noise leaves: nothing but step 0", async () => {
    const system = knownDdgm(betas);
    const checkpoints = () => [{ step: 7, open: () => knownDdgm(betas) }];
    const { rows, settings } = await drawn(boundPerStep, chainContext(3, { system, checkpoints }));
    expect(column(rows, "t")).toEqual([0, 1, 2, 3, 4]);
    expect(rows[0]?.bitsPerDim).toBeCloseTo(firstTerm(0, at("posteriorVariance", 1)), 9);
    for (const { bitsPerDim } of rows.slice(1)) expect(bitsPerDim).toBeCloseTo(0, 9);
    expect(settings).toMatchObject({ images: 3, split: "test", chainSteps: 5, measuredSteps: 5 });
    const [only] = settings.checkpoints as readonly [Readonly<Record<string, number>>];
    expect(only.step).toBe(7);
    expect(only.firstStep).toBeCloseTo(1, 9);
  });

  test("an error of the noise costs its square, at every checkpoint", async () => {
    const offsets = [0.02, 0.01];
    const checkpoints = () => offsets.map((offset, step) => ({ step, open: () => knownDdgm(betas, offset) }));
    const system = knownDdgm(betas, 0.01);
    const { rows, settings } = await drawn(boundPerStep, chainContext(2, { system, checkpoints }));
    for (const { checkpoint, t, bitsPerDim, standardError } of rows.filter(({ t }) => Number(t) > 0)) {
      const expected = termAt(Number(t), offsets[Number(checkpoint)] as number);
      expect(Number(bitsPerDim) / expected).toBeCloseTo(1, 6);
      expect(standardError).toBeCloseTo(0, 9);
    }
    const largest = settings.checkpoints as readonly { readonly largestAboveTenth: number }[];
    expect(largest[1]?.largestAboveTenth).toBeCloseTo(
      Math.max(...[1, 2, 3, 4].map((t) => termAt(t, 0.01))),
      9,
    );
  });
});

describe("bound-shares", () => {
  test("sums from the first step on, DDGM beside DAED", async () => {
    const offset = 0.01;
    const context = chainContext(2, { system: knownDdgm(betas, offset) });
    const others = [{ ...context, name: "split", system: knownDaed(betas, offset) }];
    const { rows, settings } = await drawn(boundSharesFigure, { ...context, others });
    const shift = -offset * Math.sqrt(1 / at("alphasCumprod", 0) - 1);
    const later = [1, 2, 3, 4].map((t) => termAt(t, offset));
    // A DAED's step 0 has the variance beta_0, a DDGM's that of the posterior of step 1 (fixed small).
    const firsts = { toy: firstTerm(shift, at("posteriorVariance", 1)), split: firstTerm(shift, 0.2) };
    for (const [name, first] of Object.entries(firsts)) {
      const own = rows.filter(({ run }) => run === name);
      const total = later.reduce((sum, term) => sum + term, first);
      let sum = first;
      for (const [t, row] of own.entries()) {
        sum += t > 0 ? (later[t - 1] as number) : 0;
        expect(row.part).toBeCloseTo((t + 1) / 5, 12);
        expect(row.share).toBeCloseTo(sum / total, 6);
        expect(row.sumWithoutFirst).toBeCloseTo(sum - first, 6);
        expect(row.shareWithoutFirst).toBeCloseTo((sum - first) / (total - first), 6);
      }
    }
    const [ddgm, daed] = settings.runs as readonly Readonly<Record<string, unknown>>[];
    expect(ddgm).toMatchObject({ model: "DDGM", loss: "vlb", chainSteps: 5, hundredth: 1 });
    expect(daed).toMatchObject({ model: "DAED 0.2" });
    expect(ddgm?.firstStep).toBe(ddgm?.firstHundredth);
  });

  test("needs networks for every step of every run", async () => {
    const context = chainContext(2, { system: knownDdgm(betas) });
    const { denoiser, type, shape } = knownDaed(betas);
    const half = new DAED({ betas, denoiser, type, shape, loss: "simple", sampling: "uniform" });
    await expect(
      boundSharesFigure.draw({ ...context, others: [{ ...context, label: "half", system: half }] }),
    ).rejects.toThrow(
      'networks for every step of a discrete chain for figure "bound-shares", got one without (half)',
    );
    expect(boundSharesFigure.fits(half)).toBe(false);
    expect(boundSharesFigure.fits(toySystem())).toBe(false);
  });
});

test("steps of a long chain lie closer near the image, and lines fill the gaps", () => {
  expect(chosenSteps(1000, 4)).toEqual([0, 9, 99, 999]);
  expect(chosenSteps(4, 10)).toEqual([0, 1, 2, 3]);
  const many = chosenSteps(4000, 200);
  expect([many.length, many[0], many.at(-1)]).toEqual([200, 0, 3999]);
  for (let i = 1; i < many.length; i++) expect(many[i]).toBeGreaterThan(many[i - 1] as number);
  expect([...termsOfAll([0, 1, 3], [8, 4, 2], 4)]).toEqual([8, 4, 3, 2]);
  expect(boundShares(Float64Array.of(6, 2, 1, 1))).toMatchObject({
    ...{ total: 10, firstStep: 0.6, firstHundredth: 0.6, hundredth: 1 },
    cumulative: Float64Array.of(6, 8, 9, 10),
  });
});

describe("quality-per-split", () => {
  const result = (value: number, more: Partial<QualityResult> = {}): QualityResult => ({
    ...{ step: 10, ema: true, samples: 100, sampler: "ancestral", steps: 5, seed: 0 },
    features: { name: "lenet", fingerprint: "f", standing: "other" },
    reference: { data: "grey", fingerprint: "d", shape: [1, 2, 2], split: "train", images: 50 },
    floor: null,
    scores: { fid: { label: "FID (lenet, 84 features)", value, standardError: 0.5, floor: null } },
    ...more,
  });
  const run = (name: string, system: FigureContext["system"], results: readonly QualityResult[]) => ({
    ...chainContext(2, { system }),
    ...{ name, path: `runs/${name}`, qualityResults: () => results },
  });

  test("stands at the split's log-SNR, in the setting that most runs were measured in", async () => {
    const half = [0.5, 0.6, 0.7];
    const context = {
      ...run("ddgm", knownDdgm(betas), [result(3)]),
      others: [
        // All steps of either chain are one setting; 5 of another are not.
        run("daed", knownDaed(half), [result(9, { samples: 1000, steps: 3 }), result(4, { steps: 3 })]),
        run("unmeasured", knownDaed(betas), []),
      ],
    };
    const { rows, settings } = await drawn(qualityPerSplit, context);
    expect(rows.map(({ run, distance }) => [run, distance])).toEqual([
      ["ddgm", 3],
      ["daed", 4],
    ]);
    expect(rows[0]).not.toHaveProperty("logSnr");
    expect(rows[1]?.logSnr).toBeCloseTo(Math.log(x0 ** 2), 9); // ln(0.5 / 0.5) = 0
    expect(settings.lacking).toEqual([
      "varidiff evaluate runs/unmeasured --metrics quality --samples 100 --sampler ancestral --steps 5",
    ]);
  });

  test("says which command makes the results that are not there", async () => {
    await expect(qualityPerSplit.draw(run("bare", knownDaed(betas), []))).rejects.toThrow(
      "varidiff evaluate runs/bare --metrics quality",
    );
  });
});
