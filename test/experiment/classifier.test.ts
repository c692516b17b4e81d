/** A classifier as an experiment: it learns, resumes, is measured, and is refused where a diffusion model is needed. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openSplit } from "../../src/experiment/experiment.js";
import { readMetrics } from "../../src/experiment/journal.js";
import { measureNow } from "../../src/experiment/metric.js";
import { metricNamed } from "../../src/experiment/metrics.js";
import { openRun } from "../../src/experiment/run-folder.js";
import { openAnyTrained, openTrained } from "../../src/experiment/trained.js";
import { Classifier } from "../../src/systems/index.js";
import { fromTypedArray, liveTensors, noGrad, scope, tensor } from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";
import { classifierConfig, trainTiny, writeBands } from "./bands.js";
import { temporaryFolder } from "./tiny.js";

let folder: string;
let run: string;
beforeAll(async () => {
  folder = temporaryFolder();
  run = path.join(folder, "run");
  await trainTiny(classifierConfig(writeBands(folder)), run);
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const request = { weights: "raw", overrides: [] } as const;

test("training lowers the cross-entropy and says what it counts", () => {
  const records = readMetrics(openRun(run)).filter(({ event }) => event === "train");
  const [first, last] = [records[0], records.at(-1)];
  expect(first).toMatchObject({ lossUnit: "nats (cross-entropy)" });
  // Three classes in equal parts: a network that knows nothing has ln 3.
  expect(first?.loss).toBeGreaterThan(0.8);
  expect(last?.loss).toBeLessThan(0.3);
  expect(last?.accuracy).toBeGreaterThan(0.9);
  expect(last).not.toHaveProperty("bitsPerDim");
});

test("the metric accuracy counts what the network gets right, before it has learned", async () => {
  const trained = openAnyTrained(run, { ...request, step: 0 });
  const { document, summary } = await measureNow(
    await metricNamed("accuracy")(trained, { seed: 0, images: 20, batchSize: 7 }),
    {},
  );
  const { system, config } = trained;
  if (!(system instanceof Classifier)) throw new Error("expected a classifier");
  const source = await openSplit(config, "test");
  const pixels = new Uint8Array(20 * 64);
  source.read(
    Array.from({ length: 20 }, (_, i) => i),
    pixels,
  );
  const logits = scope(() =>
    noGrad(() => system.see(fromTypedArray(pixels, [20, 1, 8, 8]), {}).logits.toArray()),
  );
  const rows = Array.from({ length: 20 }, (_, i) => logits.slice(3 * i, 3 * i + 3));
  const right = rows.filter((row, i) => row.indexOf(Math.max(...row)) === source.labels?.[i]).length / 20;
  const nats = rows.map((row, i) => {
    const total = row.reduce((sum, x) => sum + Math.exp(x), 0);
    return Math.log(total) - (row[source.labels?.[i] ?? -1] as number);
  });
  expect(right).toBeLessThan(1);
  expect(document).toMatchObject({
    ...{ metric: "accuracy", images: 20, split: "test", system: "classifier" },
    accuracy: { mean: right, standardError: Math.sqrt((right * (1 - right)) / 20) },
  });
  const { crossEntropy } = document as { readonly crossEntropy: { readonly mean: number } };
  expect(crossEntropy.mean).toBeCloseTo(nats.reduce((sum, x) => sum + x, 0) / 20, 5);
  expect(summary).toMatch(/^\d\.\d{4} \+- \d\.\d{4} of the classes are right/);
});

test.each(["steps", "passes"])("of the metric accuracy there are no --%s", async (option) => {
  const trained = openAnyTrained(run, request);
  await expect(metricNamed("accuracy")(trained, { seed: 0, [option]: 0 })).rejects.toThrow(
    `expected no --${option} for the metric accuracy, which draws nothing: leave it out`,
  );
});

test("a diffusion model is expected elsewhere, in one line", async () => {
  const said = `expected the run of a diffusion model, got ${run}, a classifier`;
  expect(() => openTrained(run, request)).toThrow(said);
  expect(() => metricNamed("bpd")(openAnyTrained(run, request), { seed: 0 })).toThrow(said);
});

test("labels beyond the classes are refused with the number there are", async () => {
  const { config } = openAnyTrained(run, request);
  if (config.system !== "classifier") throw new Error("expected a classifier");
  const model = { ...config.model, classes: 2 };
  await expect(openSplit({ ...config, model }, "train")).rejects.toThrow(
    'expected 2 classes in the train images of "idx", found labels up to 2: set model.classes=3',
  );
});

test("the loss of uniform logits is ln K, and a step leaks nothing", () => {
  const network = {
    forward: (x: { readonly shape: readonly number[] }) => ({
      logits: tensor(Array.from({ length: x.shape[0] ?? 0 }, () => [2, 2, 2, 2])),
    }),
  };
  const classifier = new Classifier({ shape: [1, 2, 2], network: network as never });
  const batch = { pixels: fromTypedArray(new Uint8Array(8), [2, 1, 2, 2]), condition: tensor([0, 3]) };
  collectGarbage();
  const before = liveTensors();
  const { loss, perExample } = scope(() => {
    const objective = classifier.objective(batch, {} as never);
    return { loss: objective.loss.item(), perExample: objective.perExample.toArray() };
  });
  expect(loss).toBeCloseTo(Math.log(4), 6);
  expect(perExample).toHaveLength(2);
  expect(liveTensors()).toBe(before);
});
