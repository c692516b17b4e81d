/** What training steps of cold diffusion, its teacher's walks among them, and what is led back leave behind: nothing. */
import { expect, test } from "vitest";
import { memorySource } from "../../src/data/index.js";
import { configSchema } from "../../src/experiment/config.js";
import { buildSystem } from "../../src/experiment/experiment.js";
import { leadBack } from "../../src/experiment/lead-back.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { Trainer } from "../../src/experiment/trainer.js";
import { ColdWalk } from "../../src/systems/index.js";
import { fromTypedArray, liveTensors, Streams, setThreads } from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";

const shape = [1, 8, 8] as const;
const count = 8;
const bytes = Uint8Array.from({ length: count * 64 }, (_, i) => (i * 37) % 256);
const source = memorySource(
  { name: "ramps", split: "train", shape, length: count, origin: "made here" },
  bytes,
);
const unet = "channels: 8, channelMultipliers: [1, 2], residualBlocks: 1, attentionLevels: [], groups: 4";

test.each([
  // The teacher has the present weights for three steps, then the averaged ones.
  [
    "vcd",
    `perturbation: both, teacher: { counter: plain, warmup: 2 }, network: { kind: variational-unet, latentSize: 4, ${unet} }`,
  ],
  ["cold", `degradation: { kind: noise }, prediction: eps, network: { kind: cold-unet, ${unet} }`],
])("%s", async (name, model) => {
  setThreads(1);
  const text = `{ system: ${name}, model: { ${model} }, train: { steps: 20, batchSize: 4 } }`;
  const config = loadConfig(configSchema, { text, overrides: [] });
  const { system } = buildSystem(config, shape);
  if (!(system instanceof ColdWalk)) throw new Error("expected a walk");
  system.initialise(new Streams(1));
  const trainer = new Trainer(config, { device: "cpu", precision: "float32", threads: 1 }, system, source);
  for (let step = 0; step < 4; step++) trainer.advance();
  const back = () =>
    leadBack({
      ...{ system, count: 3, steps: 6, sampler: "ancestral", frames: 3, batchSize: 2 },
      ...{ streams: new Streams(0), pass: {} },
      readBatch: (first, n) => ({
        pixels: fromTypedArray(bytes.slice(first * 64, (first + n) * 64), [n, ...shape]),
      }),
    });
  await back(); // A degradation keeps the tables that it has been asked for.

  collectGarbage();
  const before = liveTensors();
  for (let step = 0; step < 4; step++) trainer.advance();
  expect(liveTensors()).toBe(before);
  await back();
  expect(liveTensors()).toBe(before);
  expect(system.levels).toBe(6); // Held to the end: what is collected would be counted.
});
