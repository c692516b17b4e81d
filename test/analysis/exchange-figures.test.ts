/** The numbers behind the figures of latent exchange, where they are closed forms. */
import { describe, expect, test } from "vitest";
import { exchange } from "../../src/analysis/exchange.js";
import { bandEnergies, bandNames } from "../../src/analysis/exchange-bands.js";
import { exchangeChange } from "../../src/analysis/exchange-change.js";
import { exchangeEncoded } from "../../src/analysis/exchange-encoded.js";
import { drawnPairs, exchangedImages, noLevel } from "../../src/analysis/exchange-walks.js";
import type { FigureContext, FigureRequest, Row } from "../../src/analysis/figure.js";
import { sample } from "../../src/diffusion/sampler/index.js";
import { fromTypedArray, noGrad, randn, Streams } from "../../src/torch/index.js";
import { same } from "../golden.js";
import { coldContext, fineNorm, paintingSystem, side } from "./cold-toy.js";
import { toyContext } from "./toy.js";

/** What latents do at levels 1, 2 and 3. */
const coarse = [0.01, 0.04, 0.02];
const fine = [0.03, 0, 0.01];
const levels = coarse.length;
const system = paintingSystem({ coarse, fine });
const sampling = { count: 4, steps: levels, sampler: "ancestral" };
const context = (request: FigureRequest = {}, more: Partial<FigureContext> = {}) =>
  coldContext({ system, sampling, request, ...more });

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

function changesOf(rows: readonly Row[] | undefined, exchanged: string, more: Row = {}): readonly number[] {
  const found = (rows ?? []).filter(
    (row) => row.exchanged === exchanged && Object.entries(more).every(([key, value]) => row[key] === value),
  );
  if (found.length === 0) throw new Error(`expected rows of ${exchanged}`);
  return found.map(({ change }) => Number(change));
}

describe("bandEnergies", () => {
  test("the four add up to the squared norm (Parseval)", () => {
    const x = randn([3, 2, 7, 10], new Streams(1).generator("x"), { dtype: "float64" });
    const norms = x.square().flatten(1).sum([1]).toArray();
    const found = bandEnergies(x);
    expect(found.shape).toEqual([3, bandNames.length]);
    for (const [i, norm] of found.sum([1]).toArray().entries())
      expect(norm).toBeCloseTo(norms[i] as number, 10);
  });

  test.each([
    // sqrt((i / H)^2 + (j / W)^2) of 16 x 32 pixels, and its octave.
    { i: 0, j: 0, band: 0 },
    { i: 1, j: 3, band: 0 }, // 0.113
    { i: 2, j: 0, band: 1 }, // 0.125: a border belongs to the band above it
    { i: 0, j: 7, band: 1 }, // 0.219
    { i: 3, j: 14, band: 2 }, // 0.476
    { i: 8, j: 0, band: 3 }, // 0.5
    { i: 15, j: 31, band: 3 },
  ])("mode ($i, $j) is in band $band alone", ({ i, j, band }) => {
    const wave = (n: number, k: number, size: number) => Math.cos((Math.PI * (2 * n + 1) * k) / (2 * size));
    const mode = Float64Array.from(
      { length: 16 * 32 },
      (_, at) => wave(Math.floor(at / 32), i, 16) * wave(at % 32, j, 32),
    );
    const norm = sum([...mode].map((value) => value ** 2));
    for (const [b, energy] of bandEnergies(fromTypedArray(mode, [1, 1, 16, 32]))
      .toArray()
      .entries())
      expect(energy / norm).toBeCloseTo(b === band ? 1 : 0, 12);
  });
});

describe("exchange", () => {
  test("a row for each target and source, a column for each level", async () => {
    const drawing = await exchange.draw(context({ images: 3 }));
    const { rows, settings } = drawing;
    expect(settings).toMatchObject({ latents: "prior", sampler: "ancestral", steps: levels });
    const names = ["all levels", "no level", "k = 3", "k = 2", "k = 1"];
    expect([...new Set(rows?.map(({ exchanged }) => exchanged))]).toEqual(names);
    const svg = drawing.kind === "picture" ? drawing.svg : "";
    expect(svg?.match(/<image /g)).toHaveLength(2 * 3 * names.length);
    for (const label of ["source", "target", "k = 3", "target 2, source 3"]) expect(svg).toContain(label);
  });

  test("the change by a level whose latent decides brightness alone", async () => {
    const { rows } = await exchange.draw(context());
    expect(changesOf(rows, "no level")).toEqual([0, 0, 0, 0]);
    const each = [0, 1].flatMap((target) => [0, 1].map((source) => [target, source] as const));
    const shared = ["start", "noise"] as const;
    const pairs = noGrad(() =>
      drawnPairs({ ...context(), system }, new Streams(0), { targets: 2, sources: 2, rows: each, shared }),
    );
    const apart = pairs.source.sub(pairs.target).select(1, 0).toArray();
    // c_2^2 (z_S - z_T)^2 in each of 64 pixels.
    for (const [row, change] of changesOf(rows, "k = 2").entries())
      expect(change).toBeCloseTo(0.04 ** 2 * 64 * (apart[row] as number) ** 2, 12);
  });

  test("windows where they are asked for, and of more than twelve levels", async () => {
    const { settings } = await exchange.draw(context({ times: 1 }));
    expect(settings.exchanged).toMatchObject([{}, {}, { name: "k = 3 .. 1", levels: [3, 2, 1] }]);
    const many = paintingSystem({ coarse: new Array(13).fill(0.01), fine: new Array(13).fill(0) });
    const drawing = await exchange.draw(context({}, { system: many, sampling: { ...sampling, steps: 13 } }));
    // Borders of t: 13, 10, 7 (6.5), 3, -1.
    expect(drawing.settings.exchanged).toMatchObject([
      {},
      {},
      { levels: [13, 12] },
      { levels: [10, 9] },
      { levels: [7, 6, 5] },
      { levels: [3, 2, 1] },
    ]);
    await expect(exchange.draw(context({ times: 2 }))).rejects.toThrow(
      "expected at most 1 windows over 3 levels",
    );
  });

  test("targets are samples as they are drawn from the same streams, noise on the way included", async () => {
    const noisy = paintingSystem({ coarse, fine }, { stepNoise: 0.1, startNoise: 0.2 });
    const own = { system: noisy, pass: {}, sampling, signal: undefined };
    for (const shared of [[], ["start", "noise"]] as const) {
      const drawn = await sample(noisy, {
        ...{ count: 2, steps: levels, sampler: "ancestral", streams: new Streams(3).at(0), pass: {}, shared },
      });
      const rows = [0, 0, 1].map((target, source) => [target, source] as const);
      const pairs = noGrad(() => drawnPairs(own, new Streams(3), { targets: 2, sources: 3, rows, shared }));
      const images = await exchangedImages(own, pairs, {
        exchanged: noLevel.levels,
        see: (x) => noisy.decode(x),
      });
      for (const [row, [target]] of rows.entries())
        same(images.select(0, row), drawn.select(0, target), `row ${row}, shared ${shared}`);
    }
  });

  test("systems without latents are refused in one line", async () => {
    await expect(exchange.draw(toyContext(2))).rejects.toThrow(
      'expected a system of cold diffusion with latents for figure "exchange", got one without (toy): choose another figure',
    );
  });
});

describe("exchange-encoded", () => {
  test("grey images by a model that tells them apart: the difference of their states is what is exchanged", async () => {
    const drawing = await exchangeEncoded.draw(context());
    expect(drawing.settings).toMatchObject({ latents: "encoded", split: "test", images: [0, 1, 2, 3] });
    const svg = drawing.kind === "picture" ? drawing.svg : "";
    // Source, target, both as they are rebuilt, and three levels.
    expect(svg?.match(/<image /g)).toHaveLength(4 * 7);
    // Linear fading: D(x, k) = (1 - k / 3) x, whatever the level a third of 40 / 255 for each image they are apart.
    const apart = [2 - 0, 3 - 0, 2 - 1, 3 - 1].map((images) => (40 / 255) * images);
    for (const [exchanged, part] of [
      ["all levels", 1],
      ["k = 3", 1 / 3],
      ["k = 1", 1 / 3],
      ["no level", 0],
    ] as const)
      for (const [row, change] of changesOf(drawing.rows, exchanged).entries())
        expect(change).toBeCloseTo(side * side * (part * (apart[row] as number)) ** 2, 12);
  });
});

describe("exchange-change", () => {
  test("by level and by band: amplitudes squared, of all levels those of their sum", async () => {
    const images = 200;
    const { rows, settings } = await exchangeChange.draw(context({ images }, { batchSize: 64 }));
    expect(settings).toMatchObject({ pairs: images, runs: ["toy"] });
    const of = (exchanged: string, band: string) => changesOf(rows, exchanged, { band })[0] as number;
    const amplitudes = (values: readonly number[]): readonly (readonly [string, number])[] => [
      ["all levels", sum(values)],
      ...values.map((amplitude, i) => [`k = ${i + 1}`, amplitude] as const),
    ];
    const bands = [
      { name: "below 1/8", values: coarse, norm: side * side },
      { name: "above 1/2", values: fine, norm: fineNorm },
    ];
    for (const { name, values, norm } of bands)
      for (const [exchanged, amplitude] of amplitudes(values)) {
        // (z_S - z_T)^2 has mean 2 and variance 8; four standard errors, and rounding where the amplitude is 0.
        const expected = 2 * norm * amplitude ** 2;
        const allowed = 4 * expected * Math.sqrt(2 / images) + 1e-20;
        expect(Math.abs(of(exchanged, name) - expected)).toBeLessThan(allowed);
        expect(of(exchanged, name) / of("all levels", name)).toBeCloseTo((amplitude / sum(values)) ** 2, 12);
      }
    for (const exchanged of ["all levels", "k = 1", "k = 2", "k = 3"]) {
      for (const empty of ["1/8 to 1/4", "1/4 to 1/2"]) expect(of(exchanged, empty)).toBeCloseTo(0, 15);
      expect(of(exchanged, "all")).toBeCloseTo(sum(bandNames.map((band) => of(exchanged, band))), 12);
    }
    const errorOf = rows?.find((row) => row.exchanged === "k = 2" && row.band === "all")?.standardError;
    // sqrt(8 / 200) 64 c^2, known to about a quarter: the fourth power of a normal is 15 times its variance's square.
    const part = Number(errorOf) / (Math.sqrt(8 / images) * 64 * 0.04 ** 2);
    expect(part).toBeGreaterThan(0.5);
    expect(part).toBeLessThan(1.75);
  });

  test("runs side by side, from the same latents", async () => {
    const louder = paintingSystem({ coarse: coarse.map((a) => 2 * a), fine: fine.map((a) => 2 * a) });
    const others = [{ ...context({}, { system: louder }), name: "louder" }];
    const drawing = await exchangeChange.draw(context({ images: 5 }, { others }));
    const of = (run: string) => changesOf(drawing.rows, "k = 3", { band: "all", run })[0] as number;
    expect(of("louder")).toBeCloseTo(4 * of("toy"), 12);
    const svg = drawing.kind === "chart" ? drawing.chart.svg : "";
    for (const text of ["louder", "k = 3", "above 1/2"]) expect(svg).toContain(text);
  });

  test("what cannot stand beside it is refused in one line", async () => {
    const beside = (other: FigureContext) =>
      exchangeChange.draw(context({ images: 2 }, { others: [{ ...other, name: "other", label: "other" }] }));
    await expect(beside(toyContext(2))).rejects.toThrow(
      'expected a system of cold diffusion with latents for figure "exchange-change", got one without (other): leave that run out',
    );
    const short = paintingSystem({ coarse: [0.1, 0.1], fine: [0, 0] });
    await expect(beside(context({}, { system: short }))).rejects.toThrow(
      "expected runs of 3 levels to compare level by level, got 2 of other: leave it out",
    );
  });
});
