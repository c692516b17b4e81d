/** The numbers behind the figures of reconstructions, where they are closed forms. */
import { describe, expect, test } from "vitest";
import type { FigureSubject } from "../../src/analysis/figure.js";
import { firstSteps, reconstructionError } from "../../src/analysis/reconstruction-error.js";
import { reconstructions } from "../../src/analysis/reconstructions.js";
import { toyExamples } from "../../src/analysis/toy-examples.js";
import { toyImages, toyShapes } from "../../src/analysis/toy-images.js";
import { transfer } from "../../src/analysis/transfer.js";
import { linearBetas } from "../../src/diffusion/chain/betas.js";
import { GaussianChain } from "../../src/diffusion/chain/gaussian-chain.js";
import { DAED, DDGM } from "../../src/systems/index.js";
import { Streams } from "../../src/torch/index.js";
import { eps, Weighted } from "../daed/networks.js";
import { chainContext, knownDaed, knownDdgm } from "./chain-toy.js";
import { column, toyContext } from "./toy.js";

/** 0.2, 0.25, 0.3, 0.35, 0.4, which add up to 0.2, 0.4, 0.58, 0.727, 0.8362. */
const betas = linearBetas(5);

/** A model that sees no noise: `x_t / sqrt(abar_t)` comes back from t in one step. */
const blind = { type: eps("fixed-small"), loss: "simple", sampling: "uniform", shape: [1, 2, 2] } as const;
const blindDenoiser = (firstBeta: number) =>
  new DAED({ ...blind, betas: [firstBeta, 0.4], denoiser: new Weighted((x) => x.mul(0)) }).initialise(
    new Streams(0),
    { dtype: "float64" },
  );

const subject = (name: string, context: FigureSubject): FigureSubject => ({ ...context, name, label: name });

describe("reconstructions", () => {
  const system = knownDdgm(betas);

  test("every run's images in a row of their own, from the noise of the first denoiser", async () => {
    const others = [
      subject("daed", chainContext(6, { system: knownDaed(betas) })),
      subject("blind", chainContext(6, { system: blindDenoiser(0.2) })),
    ];
    const drawing = await reconstructions.draw(chainContext(6, { system, others, request: { images: 3 } }));
    const rows = drawing.rows ?? [];
    expect(drawing.settings).toMatchObject({ images: 3, at: 0.2, sampler: "ancestral", indices: [0, 1, 2] });
    expect(rows.map(({ run }) => run)).toEqual(["toy", "daed", "blind"].flatMap((run) => [run, run, run]));
    for (const row of rows.slice(0, 6)) {
      expect(row).toMatchObject({ beta: expect.closeTo(0.2, 12), networkCalls: 1 });
      expect(row.mae).toBeCloseTo(0, 12);
      expect(row.msSsim).toBeCloseTo(1, 12);
    }
    for (const row of rows.slice(6)) expect(row.mae).toBeGreaterThan(0.05);
    const svg = drawing.kind === "picture" ? drawing.svg : "";
    expect(svg?.match(/<image /g)).toHaveLength((2 + 3) * 3);
    for (const label of ["clean", "noise of variance 0.2", "daed, MAE 0.000"]) expect(svg).toContain(label);
  });

  test("noise that is asked for, and the steps back from it", async () => {
    const drawing = await reconstructions.draw(chainContext(2, { system, request: { images: 2, at: 0.58 } }));
    expect(drawing.rows?.[0]).toMatchObject({ beta: expect.closeTo(0.58, 12), networkCalls: 3 });
  });

  test("the same noise for all: blind models of one chain bring back the same", async () => {
    const others = [subject("other", chainContext(2, { system: blindDenoiser(0.3) }))];
    const { rows = [] } = await reconstructions.draw(
      chainContext(2, { system: blindDenoiser(0.3), others, request: { images: 2 } }),
    );
    expect(column(rows.slice(2), "mae")).toEqual(column(rows.slice(0, 2), "mae"));
  });

  test("what cannot stand beside it is refused in one line", async () => {
    const beside = (other: FigureSubject) =>
      reconstructions.draw(chainContext(2, { system, others: [subject("other", other)] }));
    await expect(beside(toyContext(2))).rejects.toThrow(
      'expected a system of discrete steps with a denoiser for figure "reconstructions", got one without (other): leave that run out',
    );
    const chain = new GaussianChain(betas);
    const small = new DDGM({ ...blind, chain, shape: [1, 1, 1], network: new Weighted((x) => x) });
    await expect(beside(chainContext(2, { system: small }))).rejects.toThrow(
      "expected runs of one image shape to draw from the same noise, got 1 x 1 x 1 of other",
    );
    const generator = new DAED({ ...blind, betas, generator: new Weighted((x) => x) });
    await expect(reconstructions.draw(chainContext(2, { system: generator }))).rejects.toThrow(
      'expected a system of discrete steps with a denoiser for figure "reconstructions", got one without (toy)',
    );
  });
});

describe("toy-examples", () => {
  test("a row for each run of every shape at the model's size", async () => {
    const context = chainContext(0, { system: blindDenoiser(0.1) });
    const { rows = [], settings } = await toyExamples.draw(context);
    expect(rows.map(({ name }) => name)).toEqual(Object.keys(toyShapes));
    expect(settings).toMatchObject({ at: 0.1 });
  });

  test("shapes by formula: white where they are, in two colours where there are colours", () => {
    const names = Object.keys(toyShapes);
    const pixel = (name: string, [c, row, column]: readonly [number, number, number], channels: number) => {
      const [height, width] = [8, 8];
      const image = names.indexOf(name);
      const images = toyImages([channels, height, width]);
      expect(images).toHaveLength(names.length * channels * height * width);
      return images[((image * channels + c) * height + row) * width + column];
    };
    expect([pixel("disc", [0, 4, 4], 1), pixel("disc", [0, 0, 0], 1)]).toEqual([255, 0]);
    // Squares of two pixels a side.
    const squares = [0, 1, 2, 3].map((column) => pixel("checkerboard", [0, 1, column], 1));
    expect(squares).toEqual([255, 255, 0, 0]);
    // (column + 1/2) / 8 of 255
    expect([0, 7].map((column) => pixel("gradient", [0, 3, column], 1))).toEqual([16, 239]);
    expect([0, 1, 2].map((c) => pixel("ring", [c, 4, 4], 3))).toEqual([20, 50, 110]);
    expect([0, 1, 2].map((c) => pixel("stripes", [c, 1, 0], 3))).toEqual([250, 190, 60]);
    expect(pixel("blank", [0, 4, 4], 1)).toBe(0);
  });
});

describe("reconstruction-error", () => {
  test("steps up to a fifth of the chain, both ends included, none twice", () => {
    expect(firstSteps(500, 11)).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    expect(firstSteps(468, 3)).toEqual([0, 47, 93]);
    expect(firstSteps(12, 9)).toEqual([0, 1, 2]);
    expect(firstSteps(1000, 1)).toEqual([0]);
  });

  test("no error of a network that knows the noise, on each data set, and the cost of all", async () => {
    const chain = linearBetas(21);
    const seen: (readonly [number, number])[] = [];
    const context = chainContext(3, { system: knownDdgm(chain), request: { times: 3, data: ["other"] } });
    const asked: unknown[] = [];
    const { rows = [] } = await reconstructionError.draw({
      ...context,
      openImages(split, set) {
        asked.push(set);
        return context.openImages(split, set);
      },
      onProgress: (done, total) => seen.push([done, total]),
    });
    expect(asked).toEqual([{ name: "toy" }, { name: "other" }]);
    expect(column(rows, "index")).toEqual([0, 2, 4, 0, 2, 4]);
    expect(column(rows, "part")[1]).toBeCloseTo(2 / 21, 12);
    const { alphasCumprod } = new GaussianChain(chain).tables;
    expect(rows[1]?.beta).toBeCloseTo(1 - (alphasCumprod[2] as number), 12);
    for (const row of rows) expect(row.mae).toBeCloseTo(0, 12);
    // 3 images, 1 + 3 + 5 steps, two data sets.
    expect(seen.at(-1)).toEqual([54, 54]);
  });

  test("a denoiser by itself has one step alone: another figure", async () => {
    await expect(reconstructionError.draw(chainContext(2, { system: blindDenoiser(0.1) }))).rejects.toThrow(
      'expected a system with networks for every step of a discrete chain for figure "reconstruction-error"',
    );
  });
});

describe("transfer", () => {
  test("a row for every run on every data set, in the words of what was done to the images", async () => {
    const system = blindDenoiser(0.2);
    const request = { images: 4, data: ["other", "toy", "other"] };
    const own = chainContext(6, { system, request });
    const adapting: FigureSubject["openImages"] = async (split, set) => ({
      ...(await own.openImages(split, set)),
      ...(set?.name === "other" ? { adaptation: "padded" } : {}),
    });
    const others = [subject("known", chainContext(6, { system: knownDdgm(betas), openImages: adapting }))];
    const { rows = [], settings } = await transfer.draw({ ...own, openImages: adapting, others });
    expect(rows).toMatchObject([
      { run: "toy", trainedOn: "toy", adaptation: "none", images: 4, beta: 0.2 },
      { run: "toy", trainedOn: "toy", adaptation: "padded", index: 0 },
      { run: "known", adaptation: "none" },
      { run: "known", adaptation: "padded" },
    ]);
    expect(settings).toMatchObject({ at: 0.2, split: "test" });
    for (const row of rows.slice(2)) expect(row.mae).toBeCloseTo(0, 12);
  });
});
