/** Batches as a system is given them: pixels, classes and whether an image was augmented. */
import fs from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { augment, drawsPerImage } from "../../src/data/index.js";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { buildSystem, openSplit, readBatch } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { Trainer } from "../../src/experiment/trainer.js";
import { rand, Streams } from "../../src/torch/index.js";
import { temporaryFolder, writeTiny } from "./tiny.js";

let folder: string;
let file: string;
beforeAll(() => {
  folder = temporaryFolder();
  file = writeTiny(folder);
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

function config(...overrides: string[]): Config {
  return loadConfig(configSchema, { file, overrides });
}

const machine = { device: "cpu", precision: "float32", threads: 1 } as const;

test("with condition class, the number beside each image is its class", async () => {
  const how = config("model.condition=class");
  const source = await openSplit(how, "train");
  const batch = readBatch(source, [7, 0, 38], { config: how, device: "cpu" });
  expect(batch.condition?.toArray()).toEqual([7 % 3, 0, 38 % 3]);
});

test("data without labels cannot be conditioned on their class", async () => {
  const unlabelled = temporaryFolder();
  fs.cpSync(`${folder}/data`, unlabelled, { recursive: true });
  fs.rmSync(`${unlabelled}/train-labels-idx1-ubyte`);
  const how = config("model.condition=class", `data.path=${unlabelled}`);
  await expect(openSplit(how, "train")).rejects.toThrow(/expected labels in data set "idx".*found none/);
  fs.rmSync(unlabelled, { recursive: true });
});

test("in training, images are augmented by the step's own draws, and 1 says which were; elsewhere none are", async () => {
  const how = config("data.augment=flip-rotate", "model.condition=augmentation");
  const source = await openSplit(how, "train");
  const indices = Array.from({ length: 40 }, (_, i) => i);
  const plain = new Uint8Array(40 * 64);
  source.read(indices, plain);

  const batch = readBatch(source, indices, { config: how, device: "cpu", augmentWith: new Streams(1).at(3) });
  const draws = rand([40 * drawsPerImage], new Streams(1).at(3).generator("augment"), { dtype: "float64" });
  const expected = plain.slice();
  const applied = augment(expected, source.shape, "flip-rotate", draws.toArray());
  expect(batch.pixels.toTypedArray()).toEqual(expected);
  expect(batch.condition?.toArray()).toEqual([...applied]);
  // No image of this set is its own mirror image or turn, so that pixels changed exactly where 1 stands.
  const changed = indices.map((i) => {
    const [a, b] = [plain, expected].map((all) => Buffer.from(all.subarray(i * 64, (i + 1) * 64)));
    return Number(!(a as Buffer).equals(b as Buffer));
  });
  expect([...applied]).toEqual(changed);
  // Augmented with probability 3/4: 40 images, 30 +- 2.7.
  const share = applied.reduce((sum, one) => sum + one, 0);
  expect(share).toBeGreaterThan(18);
  expect(share).toBeLessThan(40);

  const measured = readBatch(source, indices, { config: how, device: "cpu" });
  expect(measured.pixels.toTypedArray()).toEqual(plain);
  expect(measured.condition).toBeUndefined();
});

test.each(["class", "augmentation"])(
  "a model conditioned on %s trains to other weights",
  async (condition) => {
    const weights = async (...overrides: string[]) => {
      const how = config("data.augment=flip-rotate", ...overrides);
      const source = await openSplit(how, "train");
      const { system } = buildSystem(how, source.shape);
      system.initialise(new Streams(1));
      const trainer = new Trainer(how, machine, system, source);
      for (let i = 0; i < 4; i++) trainer.advance();
      const sum = system.parameters().reduce((total, p) => total + p.value.detach().abs().sum().item(), 0);
      trainer.dispose();
      system.dispose();
      return sum;
    };
    const unconditioned = await weights();
    expect(await weights()).toBe(unconditioned);
    expect(await weights(`model.condition=${condition}`)).not.toBe(unconditioned);
  },
);
