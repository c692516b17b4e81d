/** That samples and bounds are the same however many images are computed at a time, and how many memory has room for. */
import { expect, test } from "vitest";
import { memorySource } from "../../src/data/index.js";
import { type BoundedLikelihood, hasBound } from "../../src/diffusion/system.js";
import { partsOf } from "../../src/experiment/batch-parts.js";
import { configSchema } from "../../src/experiment/config.js";
import { drawImages } from "../../src/experiment/drawing.js";
import { estimateBound } from "../../src/experiment/evaluation.js";
import { buildModel } from "../../src/experiment/experiment.js";
import { imagesAtOnce } from "../../src/experiment/images-at-once.js";
import { fromTypedArray, noGrad, rand, Streams, scope } from "../../src/torch/index.js";
import { smallNames, smallShape, smallSystem } from "../small-systems.js";

const count = 5;
const device = "cpu";

test("parts follow one another, and one that is whole draws as it did", () => {
  const streams = new Streams(3);
  expect(partsOf(streams, 5)).toEqual([{ first: 0, count: 5, streams }]);
  expect(partsOf(streams, 5, 8)[0]?.streams).toBe(streams);
  expect(partsOf(streams, 5, 2).map(({ first, count }) => [first, count])).toEqual([
    [0, 2],
    [2, 2],
    [4, 1],
  ]);
});

test.each(smallNames)("samples of %s", async (name) => {
  const { system, sampler, steps } = smallSystem(name);
  const draw = (more: { readonly atOnce?: number; readonly threshold?: number }) =>
    drawImages({
      ...{ system, sampler, steps, count, batchSize: 3, device, pass: {} },
      ...{ streams: new Streams(5), ...more },
    });
  const whole = await draw({});
  const parts = await draw({ atOnce: 2 });
  expect(parts.pixels.data).toEqual(whole.pixels.data);
  expect(parts.latents).toEqual(whole.latents);
  const images = Array.from({ length: count }, (_, i) => `${whole.pixels.data.slice(16 * i, 16 * (i + 1))}`);
  expect(new Set(images).size).toBeGreaterThan(1);
});

test("images that depend on one another stay together", async () => {
  const { system, sampler, steps } = smallSystem("vdm");
  const draw = (atOnce?: number) =>
    drawImages({
      ...{ system, sampler, steps, count, threshold: 50, device, pass: {}, atOnce },
      streams: new Streams(5),
    });
  expect((await draw(1)).pixels.data).toEqual((await draw()).pixels.data);
});

const pixels = Uint8Array.from({ length: count * 16 }, (_, i) => (i * 37) % 256);
const source = memorySource(
  { name: "numbers", split: "test", shape: smallShape, length: count, origin: "memory" },
  pixels,
);

const withBound = smallNames.filter((name) => hasBound(smallSystem(name).system));

test.each(withBound)("bound of %s", async (name) => {
  const system = smallSystem(name).system as ReturnType<typeof smallSystem>["system"] & BoundedLikelihood;
  const measure = (atOnce?: number) =>
    estimateBound({
      ...{ system, source, images: count, passes: 2, batchSize: 4, pass: {}, atOnce },
      streams: new Streams(6),
      readBatch(indices) {
        const bytes = new Uint8Array(indices.length * 16);
        source.read(indices, bytes);
        return { pixels: fromTypedArray(bytes, [indices.length, ...smallShape]) };
      },
    });
  const [whole, parts] = [await measure(), await measure(3)];
  expect(parts.bitsPerDim.mean / whole.bitsPerDim.mean).toBeCloseTo(1, 10);
  for (const [term, { mean, standardError }] of Object.entries(whole.terms)) {
    expect(parts.terms[term]?.mean).toBeCloseTo(mean, 8);
    expect(parts.terms[term]?.standardError).toBeCloseTo(standardError, 8);
  }
  expect(withBound).toContain("mulan");
});

test("a part that draws what every other part would draw too is a mistake that shows", () => {
  const part = new Streams(5).part({ first: 2, of: 5 });
  expect(() => part.generator("noise")).toThrow(/drawn\(\)/);
  expect(() => part.at(1).generator("noise")).toThrow(/drawn\(\)/);
  scope(() =>
    noGrad(() => {
      const draw = (streams: Streams, n: number) =>
        streams.at(1).drawn("noise", n, (rows, generator) => rand([rows, 3], generator));
      const all = draw(new Streams(5), 5).narrow(0, 2, 2).toArray();
      expect(draw(part, 2).toArray()).toEqual(all);
    }),
  );
});

test("twice the memory has room for twice the images, never for none; accelerators are not limited", () => {
  const config = configSchema.parse({
    system: "vdm",
    model: { network: { kind: "vdm-unet", channels: 64, depth: 1, attention: "none" } },
  });
  const { system } = buildModel(config, [1, 28, 28]);
  const machine = { device, precision: "float32", threads: 1 } as const;
  const trained = { config, machine, system: system as ReturnType<typeof smallSystem>["system"] };
  const few = imagesAtOnce(trained, 2 ** 28) as number;
  expect(few).toBeGreaterThan(4);
  expect(Math.abs((imagesAtOnce(trained, 2 ** 29) as number) - 2 * few)).toBeLessThanOrEqual(1);
  const half = imagesAtOnce(
    { ...trained, machine: { ...machine, precision: "bfloat16" } },
    2 ** 28,
  ) as number;
  expect(Math.abs(half - 2 * few)).toBeLessThanOrEqual(1);
  expect(imagesAtOnce(trained, 1000)).toBe(1);
  expect(imagesAtOnce({ ...trained, machine: { ...machine, device: "cuda" } }, 1000)).toBeUndefined();
});
