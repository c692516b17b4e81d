/** The numbers behind the figures of an encoding, and images of several models from one noise. */
import { describe, expect, test } from "vitest";
import { comparedSamples, drawnAlike } from "../../src/analysis/compared-samples.js";
import { oneOfEachClass } from "../../src/analysis/encoded.js";
import { encodedImages } from "../../src/analysis/encoded-images.js";
import { encoderChange, encoderChanges } from "../../src/analysis/encoder-changes.js";
import { encodingRange } from "../../src/analysis/encoding-range.js";
import { overview } from "../../src/analysis/overview.js";
import { samples } from "../../src/analysis/samples.js";
import { memorySource } from "../../src/data/source.js";
import { FixedLinear, Trainable } from "../../src/diffusion/index.js";
import { UserError } from "../../src/errors.js";
import { DiffEnc } from "../../src/systems/diffenc.js";
import { VDM } from "../../src/systems/vdm.js";
import { stack } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { GaussianDenoiser } from "../vdm/gaussian.js";
import { readmeEnds, ToyEncoder } from "../vdm/toy.js";
import { column, encodedToy, ends, toyContext } from "./toy.js";

const { gammaMin, gammaMax } = ends;
const gammaAt = (t: number) => gammaMin + (gammaMax - gammaMin) * t;
const sigmoid = (u: number) => 1 / (1 + Math.exp(-u));
const alpha2At = (t: number) => sigmoid(-gammaAt(t));
/** Of the toy's images of even and of odd index. */
const PIXELS = [-127 / 256, 127 / 256] as const;
const pixelOf = (image: unknown) => PIXELS[Number(image) % 2] ?? Number.NaN;

describe("encoder-changes", () => {
  test("the maps of golden/diffenc/encoder", () => {
    const file = new GoldenFile("diffenc", "encoder");
    const x = file.image("x");
    const system = new DiffEnc({
      shape: x.shape.slice(1),
      schedule: new FixedLinear(readmeEnds),
      denoiser: new GaussianDenoiser(0, 1),
      encoding: new Trainable({ network: new ToyEncoder(file) }),
    });
    const batch = { pixels: x.to("uint8"), condition: file.tensor("cond") };
    const maps = file.numbers("heat.t").map((t) => encoderChange(system, batch, t));
    close(stack(maps), file.tensor("heat.map"), 1e-9, "heat.map");
  });

  test("of x_t = alpha_t^2 x: the change of alpha^2 over 0.1, or from 0 where there is less", async () => {
    const changes = async (times?: number) => {
      const request = { images: 2, ...(times === undefined ? {} : { times }) };
      return (await encoderChanges.draw(toyContext(6, { system: encodedToy(), request }))).rows ?? [];
    };
    const usual = await changes();
    expect(column(usual, "t")).toEqual([0.4, 0.4, 0.6, 0.6, 0.8, 0.8, 1, 1]);
    const twentieths = await changes(20);
    expect(twentieths.slice(0, 2).map(({ s, t }) => ({ s, t }))).toEqual(Array(2).fill({ s: 0, t: 0.05 }));
    for (const row of [...usual, ...twentieths]) {
      const t = Number(row.t);
      const s = Math.max(0, t - 0.1);
      const expected = ((alpha2At(t) - alpha2At(s)) / (t - s)) * pixelOf(row.image);
      expect(Math.abs(Number(row.c0) / expected - 1)).toBeLessThan(1e-8);
    }
  });
});

test("encoded-images: alpha_t^2 x at the times of the paper, untouched at t = 0", async () => {
  const context = toyContext(6, { system: encodedToy() });
  const drawing = await encodedImages.draw(context);
  const rows = drawing.rows ?? [];
  expect(drawing.settings).toMatchObject({ images: [0, 1, 2, 3] });
  expect([...new Set(column(rows, "t"))]).toEqual([0, 0.7, 0.8, 0.9, 0.92, 0.94, 0.96, 0.98, 1]);
  for (const row of rows) expect(row.c0).toBeCloseTo(alpha2At(Number(row.t)) * pixelOf(row.image), 12);
  const svg = drawing.kind === "picture" ? drawing.svg : "";
  expect(svg?.match(/<image /g)).toHaveLength(4 * 9);
  for (const label of ["image 3", "t = 0.92"]) expect(svg).toContain(label);
});

test("encoding-range: least, mean and largest pixel over batches that are not of one size", async () => {
  const context = toyContext(3, { system: encodedToy(), batchSize: 2, request: { times: 5 } });
  const rows = (await encodingRange.draw(context)).rows ?? [];
  expect(column(rows, "t")).toEqual([0, 0.25, 0.5, 0.75, 1]);
  for (const row of rows) {
    const alpha2 = alpha2At(Number(row.t));
    const largest = alpha2 * (127 / 256);
    const expected = { maxX: largest, meanX: -largest / 3, minX: -largest };
    for (const [name, value] of Object.entries(expected)) {
      expect(row[name]).toBeCloseTo(value, 12);
      expect(row[name.replace("X", "AlphaX")]).toBeCloseTo(Math.sqrt(alpha2) * value, 12);
    }
  }
});

test("overview: how far the encoding is from the data, and a prediction that knows nothing but z_t", async () => {
  // A prior of infinite variance: x_hat = z_t / alpha_t = x_t + exp(gamma / 2) eps, with one eps at all times.
  const system = encodedToy(new GaussianDenoiser(0, 1e12));
  const drawing = await overview.draw(toyContext(4, { system, request: { images: 1, times: 4 } }));
  const rows = drawing.rows ?? [];
  expect(column(rows, "t")).toEqual([0.25, 0.5, 0.75, 1]);
  const noise = rows.map((row) => Number(row.predictedFromEncoded) / Math.exp(gammaAt(Number(row.t)) / 2));
  for (const [k, row] of rows.entries()) {
    expect(row.encodedFromData).toBeCloseTo((1 - alpha2At(Number(row.t))) * (127 / 256), 12);
    expect(Math.abs((noise[k] ?? Number.NaN) / (noise[0] ?? Number.NaN) - 1)).toBeLessThan(1e-6);
  }
  expect(noise[0]).toBeGreaterThan(0);
});

test("figures of an encoding say that a system has none, in one line", async () => {
  for (const figure of [encoderChanges, encodedImages, encodingRange, overview])
    await expect(figure.draw(toyContext(2))).rejects.toThrow(
      `expected a system that encodes its data for figure "${figure.name}", got one without (toy): choose another figure`,
    );
});

test("one image of each class: the preferred ones first, then the others, then a second of each", () => {
  const labels = Uint8Array.of(4, 4, 0, 7, 1, 0, 3, 1, 3);
  const source = memorySource(
    { name: "toy", split: "test", origin: "memory", length: labels.length, shape: [1, 1, 1], labels },
    new Uint8Array(labels.length),
  );
  const classes = (count: number) => oneOfEachClass(source, count, [1, 3, 4, 7]).map((i) => labels[i]);
  expect(oneOfEachClass(source, 4, [1, 3, 4, 7])).toEqual([4, 6, 0, 3]);
  expect(classes(2)).toEqual([1, 3]);
  expect(classes(5)).toEqual([0, 1, 3, 4, 7]);
  expect(classes(7)).toEqual([0, 1, 3, 4, 7, 1, 3]);
  expect(classes(100)).toHaveLength(labels.length);
  const { labels: _, ...unlabelled } = source;
  expect(oneOfEachClass(unlabelled, 3, [1])).toEqual([0, 1, 2]);
});

describe("compared-samples", () => {
  const schedule = new FixedLinear(ends);
  const model = (m: number) =>
    new VDM({ shape: [1, 1, 1], schedule, denoiser: new GaussianDenoiser(m, 0.01) });

  test("the noise of all steps is the same: what differs is what the models differ in", async () => {
    const [m1, m2, T] = [-0.1, 0.15, 5];
    const sampling = { count: 1, steps: T, sampler: "ancestral" };
    const context = toyContext(2, { system: model(m1), sampling, request: { images: 40 } });
    const others = [model(m2), model(m1)].map((system) => ({ ...toyContext(2, { system }), label: "other" }));
    const drawn = await drawnAlike([context, ...others], 40, context);
    const [first, second, third] = drawn.map(({ data }) => data);
    expect(third).toEqual(first);
    expect(new Set(first).size).toBeGreaterThan(20);

    // d = z' - z of two models: x_hat' - x_hat = (1 - g alpha) (m' - m) + g d, and z_s = A z_t + alpha_s c x_hat + noise.
    let d = 0;
    for (let i = T; i > 0; i--) {
      const [gammaT, gammaS] = [gammaAt(i / T), gammaAt((i - 1) / T)];
      const [alpha2, sigma2] = [sigmoid(-gammaT), sigmoid(gammaT)];
      const g = (Math.sqrt(alpha2) * 0.01) / (alpha2 * 0.01 + sigma2);
      const x = (1 - g * Math.sqrt(alpha2)) * (m2 - m1) + g * d;
      const A = (Math.sqrt(alpha2 / sigmoid(-gammaS)) * sigmoid(gammaS)) / sigma2;
      d = A * d + Math.sqrt(sigmoid(-gammaS)) * -Math.expm1(gammaS - gammaT) * x;
    }
    const shift = (d / Math.sqrt(alpha2At(0))) * 128;
    expect(shift).toBeGreaterThan(10);
    for (let i = 0; i < 40; i++)
      expect(Math.abs((second?.[i] ?? 0) - (first?.[i] ?? 0) - shift)).toBeLessThan(1 + 1e-9);
  });

  test("a row for each run with its name, thirteen images unless told otherwise", async () => {
    const named = (name: string, m: number) => ({
      ...toyContext(2, { system: model(m) }),
      name,
      label: name,
    });
    const drawing = await comparedSamples.draw({ ...named("one", 0), others: [named("two", 0.1)] });
    expect(drawing.settings).toMatchObject({ images: 13, runs: ["one", "two"] });
    const svg = (drawing.kind === "picture" && drawing.svg) || "";
    expect(svg.match(/<image /g)).toHaveLength(26);
    for (const name of ["one", "two"]) expect(svg).toContain(`>${name}</text>`);
  });

  test("images of another shape cannot begin with the same noise", async () => {
    const denoiser = new GaussianDenoiser(0, 1);
    const system = new VDM({ shape: [3, 2, 2], schedule, denoiser });
    const others = [{ ...toyContext(2, { system }), name: "larger" }];
    const drawing = comparedSamples.draw(toyContext(2, { others }));
    await expect(drawing).rejects.toThrow(UserError);
    await expect(drawing).rejects.toThrow(
      "expected runs of one image shape to draw from the same noise, got 3 x 2 x 2 of larger beside 1 x 1 x 1 of toy",
    );
  });
});

test("samples stand in as many columns as were asked for", async () => {
  const drawing = await samples.draw(toyContext(2, { request: { images: 100, columns: 20 } }));
  const svg = (drawing.kind === "picture" && drawing.svg) || "";
  const places = [...svg.matchAll(/<image x="([^"]+)" y="([^"]+)"/g)];
  expect(places).toHaveLength(100);
  expect(new Set(places.map(([, x]) => x)).size).toBe(20);
});
