/** Figures of cold diffusion's walks: interpolation between samples, and sequences of states. */
import { describe, expect, test } from "vitest";
import type { FigureContext, FigureRequest } from "../../src/analysis/figure.js";
import { interpolation, linearWeights, sphericalWeights } from "../../src/analysis/interpolation.js";
import { sequences } from "../../src/analysis/sequences.js";
import { noiseStart } from "../../src/diffusion/cold/start/index.js";
import { AddedNoise, Fading } from "../../src/diffusion/degradation/index.js";
import { sample } from "../../src/diffusion/sampler/index.js";
import type { ColdWalk } from "../../src/systems/index.js";
import { noGrad, Streams, scope } from "../../src/torch/index.js";
import { BASE, coldContext, faintSystem, paintingSystem, shape } from "./cold-toy.js";
import { column, toyContext } from "./toy.js";

const levels = 3;
const sampling = { count: 4, steps: levels, sampler: "ancestral" };
const context = (system: ColdWalk, request: FigureRequest = {}, more: Partial<FigureContext> = {}) =>
  coldContext({ system, sampling: { ...sampling, steps: system.levels }, request, ...more });

/** Starts from noise, and gets more on its way. */
const degradation = new Fading(levels, { curve: "linear" });
const noisy = faintSystem(degradation, noiseStart({ degradation, shape }), { stepNoise: 0.3 });

/** The mean bytes of `count` samples. */
async function meansOfSamples(system: ColdWalk, streams: Streams, count: number): Promise<readonly number[]> {
  const { steps, sampler } = { ...sampling, steps: system.levels };
  const images = await sample(system, { count, steps, sampler, streams, pass: {} });
  return scope(() => images.to("float64").flatten(1).mean([1]).toArray());
}

describe("interpolation", () => {
  test("weights: linear ones sum to 1, spherical ones lie on the circle, both end in one of the two exactly", () => {
    expect(linearWeights(3)).toEqual([
      { first: 1, second: 0 },
      { first: 0.5, second: 0.5 },
      { first: 0, second: 1 },
    ]);
    const spherical = sphericalWeights(5);
    expect([spherical[0], spherical[4]]).toEqual([
      { first: 1, second: 0 },
      { first: 0, second: 1 },
    ]);
    for (const [j, { first, second }] of spherical.entries()) {
      expect(first ** 2 + second ** 2).toBeCloseTo(1, 15);
      expect(Math.atan2(second, first)).toBeCloseTo((j * Math.PI) / 8, 14);
    }
  });

  test.each([
    ["noise on the way", noisy],
    ["latents", paintingSystem({ coarse: [0.1, 0.05, 0.02], fine: [0.1, 0, 0] }, { stepNoise: 0.1 })],
  ])("its ends are samples of their own: %s", async (_, system) => {
    const { rows = [] } = await interpolation.draw(context(system, { images: 2, columns: 4 }));
    const ends = [0, 1].map((part) =>
      column(
        rows.filter((row) => row.part === part),
        "meanPixel",
      ),
    );
    for (const [end, means] of ends.entries()) {
      const expected = await meansOfSamples(system, new Streams(0).at(end), 2);
      expect(means).toHaveLength(2);
      for (const [pair, mean] of means.entries()) expect(mean).toBeCloseTo(expected[pair] as number, 12);
    }
  });

  test("in the middle latents are mixed spherically", async () => {
    const coarse = [0.1, 0.02, 0.03];
    const system = paintingSystem({ coarse, fine: [0, 0, 0] });
    const { rows = [], settings } = await interpolation.draw(context(system, { images: 2, columns: 3 }));
    expect(settings).toMatchObject({ pairs: 2, points: 3, starts: "linear", latents: "spherical" });
    const latents = [0, 1].map((end) =>
      noGrad(() => {
        const { latents } = system.start({
          ...sampling,
          count: 2,
          streams: new Streams(0).at(end),
          pass: {},
        });
        return latents?.select(1, 0).toArray() ?? [];
      }),
    );
    const middle = column(
      rows.filter(({ part }) => part === 0.5),
      "meanPixel",
    );
    for (const [pair, mean] of middle.entries()) {
      const z = (Number(latents[0]?.[pair]) + Number(latents[1]?.[pair])) * Math.SQRT1_2;
      expect(mean).toBe(Math.floor(255 * (BASE + 0.15 * z) + 0.5)); // 0.1 + 0.02 + 0.03, as bytes
    }
  });

  test("starts of noise are mixed spherically too; a picture of all points", async () => {
    const added = new AddedNoise({ levels, schedule: "cosine" });
    const system = faintSystem(added, noiseStart({ degradation: added, shape }), { prediction: "eps" });
    const drawing = await interpolation.draw(context(system));
    expect(drawing.settings).toMatchObject({ starts: "spherical", pairs: 3, points: 9 });
    const svg = drawing.kind === "picture" ? drawing.svg : "";
    expect(svg?.match(/<image /g)).toHaveLength(3 * 9);
  });

  test("what cannot be drawn is refused in one line", async () => {
    await expect(interpolation.draw(context(noisy, { columns: 1 }))).rejects.toThrow(
      'expected at least 2 images a row for figure "interpolation", the two samples, got 1: raise --columns',
    );
    await expect(interpolation.draw(toyContext(2))).rejects.toThrow(
      'expected a system of cold diffusion for figure "interpolation", got one without (toy)',
    );
  });
});

describe("sequences", () => {
  test("every level, from the start to the sample", async () => {
    // BASE / 3 brighter a level, from black on.
    const system = paintingSystem({ coarse: [0, 0, 0], fine: [0, 0, 0] });
    const { rows = [], settings } = await sequences.draw(context(system, { images: 2 }));
    expect(settings).toMatchObject({ images: 2, levels: [3, 2, 1, 0] });
    expect(column(rows, "level")).toEqual([3, 3, 2, 2, 1, 1, 0, 0]);
    // 255 / 6 = 42.5, 85 and 127.5, rounded up.
    const means = column(rows, "meanPixel");
    for (const [i, byte] of [0, 0, 43, 43, 85, 85, 128, 128].entries())
      expect(means[i]).toBeCloseTo(byte, 10);
  });

  test("twelve of more than twelve steps, evenly spread", async () => {
    const system = paintingSystem({ coarse: new Array(20).fill(0), fine: new Array(20).fill(0) });
    const { settings } = await sequences.draw(context(system, { images: 1 }));
    // Steps round(20 i / 11).
    expect(settings.levels).toEqual([20, 18, 16, 15, 13, 11, 9, 7, 5, 4, 2, 0]);
  });
});
