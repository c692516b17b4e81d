/** Variants of data sets: blur, halves and labels against closed forms. */
import fs from "node:fs";
import { expect, test } from "vitest";
import { dataCommand } from "../../src/cli/data.js";
import {
  checkDataset,
  type ImageShape,
  type ImageSource,
  imageBytes,
  openDataset,
  variantNames,
} from "../../src/data/index.js";
import { blurWeights, gaussianBlur } from "../../src/data/variants/gaussian-blur.js";
import { topHalf } from "../../src/data/variants/halves.js";
import { configSchema } from "../../src/experiment/config.js";
import { openSplit } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { idxFile, put, useTemporaryFolder } from "./make.js";

const at = useTemporaryFolder();

/** Two images of 8x8 with labels 4 and 5; the pixels are `4 i` and `255 - 4 i`. */
function putSet(): void {
  const image = Array.from({ length: 64 }, (_, i) => 4 * i);
  const pixels = [...image, ...image.map((value) => 255 - value)];
  put(at("set/train-images-idx3-ubyte"), idxFile([2, 8, 8], pixels));
  put(at("set/train-labels-idx1-ubyte"), idxFile([2], [4, 5]));
}

const open = (variant?: string, path = at("set")) =>
  openDataset({ name: "idx", path, split: "train", variant });

function read(source: ImageSource, index: number): Uint8Array {
  const into = new Uint8Array(imageBytes(source.shape));
  source.read([index], into);
  return into;
}

test("the weights: 19 at side 32, sigma = 0.06 side; always odd, no wider than the image", () => {
  // MuLAN: sigma = 0.06 * 32 = 1.92, kernel 19.
  const weights = blurWeights([3, 32, 32]);
  expect(weights).toHaveLength(19);
  // Poisson's summation: over all whole k the sum of exp(-k^2 / 2 s^2) is s sqrt(2 pi) to 1e-15 at s = 1.92; what is
  // beyond 9 of it is 2e-6.
  for (let k = 0; k <= 9; k++)
    expect((weights[9 + k] as number) * 1.92 * Math.sqrt(2 * Math.PI)).toBeCloseTo(
      Math.exp(-(k ** 2) / (2 * 1.92 ** 2)),
      5,
    );
  // 2 (1.68 + 1) / 0.3 + 1 = 18.87; the shorter side counts.
  expect(blurWeights([1, 28, 40])).toHaveLength(17);
  for (let side = 1; side < 40; side++) {
    const count = blurWeights([1, side, side]).length;
    expect(count % 2, `side ${side}`).toBe(1);
    expect(count, `side ${side}`).toBeLessThanOrEqual(side);
  }
});

test("a point becomes a Gaussian in its own channel; beyond the edges the image is mirrored", () => {
  const shape: ImageShape = [2, 32, 32];
  const gauss = (k: number) => Math.exp(-(k ** 2) / (2 * 1.92 ** 2)) / (1.92 * Math.sqrt(2 * Math.PI));
  const point = new Uint8Array(imageBytes(shape));
  point[1024 + 16 * 32 + 1] = 255; // channel 1, row 16, column 1
  const blurred = gaussianBlur(point, shape);
  expect(new Set(blurred.subarray(0, 1024))).toEqual(new Set([0]));
  for (let row = 0; row < 32; row++)
    for (let column = 0; column < 32; column++) {
      // Column 1 is seen in the mirror at column -1, 2 away. Beyond 9 there is no weight.
      const weight = (k: number) => (k <= 9 ? gauss(k) : 0);
      const across = weight(Math.abs(column - 1)) + weight(column + 1);
      const expected = 255 * weight(Math.abs(row - 16)) * across;
      const got = blurred[1024 + row * 32 + column] as number;
      // Half a level of rounding, and what the normalisation differs by.
      expect(Math.abs(got - expected), `${row}, ${column}`).toBeLessThan(0.501);
    }
});

test("what is constant stays as it is", () => {
  const shape: ImageShape = [3, 7, 12];
  const plain = new Uint8Array(imageBytes(shape)).fill(201);
  expect(gaussianBlur(plain, shape)).toEqual(plain);
});

test("frequency-split: low and high follow each other, as classes; low + high is no less than the image", async () => {
  putSet();
  const source = await open();
  const split = await open("frequency-split");
  expect(split).toMatchObject({
    ...{ name: "idx/frequency-split", split: "train", length: 4, shape: [1, 8, 8] },
    ...{ labels: Int32Array.of(0, 1, 0, 1), classes: ["low", "high"] },
  });
  for (const index of [0, 1]) {
    const image = read(source, index);
    const low = read(split, 2 * index);
    expect(low).toEqual(gaussianBlur(image, [1, 8, 8]));
    // image - min(low, image)
    const high = image.map((value, i) => value - Math.min(low[i] as number, value));
    expect(read(split, 2 * index + 1)).toEqual(high);
    expect(Math.max(...high)).toBeGreaterThan(0);
  }
});

test("frequency-halves: the top half is low, the bottom half high; labels stay", async () => {
  putSet();
  const halves = await open("frequency-halves");
  const split = await open("frequency-split");
  expect(halves).toMatchObject({ length: 2, labels: Int32Array.of(4, 5) });
  for (const index of [0, 1]) {
    const image = read(halves, index);
    expect(image.subarray(0, 32)).toEqual(read(split, 2 * index).subarray(0, 32));
    expect(image.subarray(32)).toEqual(read(split, 2 * index + 1).subarray(32));
  }
});

test("intensity-halves: class 4 loses its top half, class 5 its bottom half", async () => {
  putSet();
  const source = await open();
  const halves = await open("intensity-halves");
  const [four, five] = [read(halves, 0), read(halves, 1)];
  const grey = new Uint8Array(32).fill(127);
  expect(four.subarray(0, 32)).toEqual(grey);
  expect(four.subarray(32)).toEqual(read(source, 0).subarray(32));
  expect(five.subarray(0, 32)).toEqual(read(source, 1).subarray(0, 32));
  expect(five.subarray(32)).toEqual(grey);
});

test("the halves of colour images and of odd height", () => {
  const rows = (shape: ImageShape) =>
    Array.from({ length: imageBytes(shape) }, (_, i) => (topHalf(shape)(i) ? 1 : 0));
  expect(rows([2, 2, 2])).toEqual([1, 1, 0, 0, 1, 1, 0, 0]);
  expect(rows([1, 3, 1])).toEqual([1, 0, 0]);
});

test("each variant has a fingerprint of its own, the same whenever it is made; none is the set itself", async () => {
  putSet();
  const fingerprints = async () =>
    Promise.all(variantNames.map(async (variant) => (await open(variant)).fingerprint));
  const first = await fingerprints();
  expect(new Set(first).size).toBe(variantNames.length);
  expect(first[0]).toBe((await open()).fingerprint);
  fs.rmSync(at("cache"), { recursive: true });
  expect(await fingerprints()).toEqual(first);
});

test("a config's data.variant is what is opened, at data.size", async () => {
  putSet();
  const text = `system: vdm\ndata: { name: idx, path: ${JSON.stringify(at("set"))}, size: 4, variant: intensity-halves }`;
  const source = await openSplit(loadConfig(configSchema, { text, overrides: [] }), "train");
  expect(source).toMatchObject({ name: "idx/intensity-halves", shape: [1, 4, 4] });
  expect(read(source, 0).subarray(0, 8)).toEqual(new Uint8Array(8).fill(127));
  expect(() => loadConfig(configSchema, { text, overrides: ["data.variant=frequency-half"] })).toThrow(
    /data\.variant.*frequency-halves/s,
  );
});

test("a variant by class needs labels; one that is not known is named with the nearest", async () => {
  put(at("bare/train-images-idx3-ubyte"), idxFile([1, 2, 2], [1, 2, 3, 4]));
  await expect(open("intensity-halves", at("bare"))).rejects.toThrow(
    'expected labels in data set "idx" for data.variant intensity-halves, found none',
  );
  expect((await open("frequency-split", at("bare"))).labels).toEqual(Int32Array.of(0, 1));
  await expect(open("intensity-half", at("bare"))).rejects.toThrow(/did you mean "intensity-halves"\?/);
});

test("data check reads a variant, and the help of data explains each", async () => {
  putSet();
  const report = await checkDataset("idx", { path: at("set"), variant: "frequency-split" });
  expect(report.splits).toMatchObject([{ images: 4, classCounts: { low: 2, high: 2 } }]);
  let help = "";
  dataCommand()
    .configureOutput({ writeOut: (text) => (help += text) })
    .outputHelp();
  for (const name of variantNames.slice(1)) expect(help).toMatch(new RegExp(`^ {2}${name} +\\S`, "m"));
});
