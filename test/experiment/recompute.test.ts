/** Trainings whose activations are computed again for the gradient: the same weights of every system, and runs that change over. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { memorySource } from "../../src/data/index.js";
import { configSchema } from "../../src/experiment/config.js";
import { buildModel } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { planOf } from "../../src/experiment/plan.js";
import { createRun, openRun } from "../../src/experiment/run-folder.js";
import { Trainer } from "../../src/experiment/trainer.js";
import { trainRun } from "../../src/experiment/training-run.js";
import { liveTensors, Streams, setThreads } from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";
import { same } from "../golden.js";
import { checkpointSums, temporaryFolder, writeTiny } from "./tiny.js";

const folder = temporaryFolder();
const file = writeTiny(folder);
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const shape = [1, 8, 8] as const;
const source = memorySource(
  { name: "ramps", split: "train", shape, length: 16, origin: "made here" },
  Uint8Array.from({ length: 16 * 64 }, (_, i) => (i * 37 + (i >> 6) * 11) % 256),
);

const vdm = "network: { kind: vdm-unet, channels: 64, depth: 1, dropout: 0.2 }";
const guided =
  "network: { kind: guided-unet, channels: 8, channelMultipliers: [1, 2], residualBlocks: 1, attentionResolutions: [4], heads: 2, groups: 4 }";
const cold = "channels: 8, channelMultipliers: [1, 2], residualBlocks: 1, attentionLevels: [1], groups: 4";
const systems = {
  "vdm, the schedule's variance": `vdm, model: { schedule: { kind: monotone-paper }, scheduleGradient: minimum-variance, ${vdm} }`,
  diffenc: `diffenc, model: { schedule: { kind: learned-linear }, encoding: { kind: trainable, network: { kind: unet, channels: 32, blocks: 1 } }, ${vdm} }`,
  mulan: `mulan, model: { latent: { kind: k-hot, size: 8, k: 3 }, encoder: { kind: unet, channels: 64, depth: 1, dropout: 0.2 }, ${vdm} }`,
  ddgm: `ddgm, model: { ${guided} }`,
  daed: `daed, model: { ${guided} }`,
  cold: `cold, model: { degradation: { kind: noise }, prediction: eps, network: { kind: cold-unet, ${cold} } }`,
  vcd: `vcd, model: { perturbation: both, teacher: { counter: plain, warmup: 1 }, network: { kind: variational-unet, latentSize: 4, ${cold} } }`,
} as const;

function trainerOf(system: string, recompute: string): Trainer<ReturnType<typeof buildModel>["system"]> {
  setThreads(1);
  const text = `{ system: ${system}, train: { steps: 20, batchSize: 4, recompute: ${recompute} }, optimiser: { warmupSteps: 0 } }`;
  const config = loadConfig(configSchema, { text, overrides: [] });
  const { system: built } = buildModel(config, shape);
  const machine = { device: "cpu", precision: "float32", threads: 1 } as const;
  return new Trainer(config, machine, built.initialise(new Streams(1)), source);
}

describe.each(Object.entries(systems))("%s", (_, system) => {
  test("the same weights after three steps, and no tensor more", () => {
    const kept = trainerOf(system, "none");
    const again = trainerOf(system, "levels");
    for (let step = 0; step < 3; step++) for (const trainer of [kept, again]) trainer.advance();
    const expected = new Map(kept.system.values());
    for (const [name, value] of again.system.values()) same(value, expected.get(name) as never, name);
    collectGarbage();
    const before = liveTensors();
    again.advance();
    expect(liveTensors()).toBe(before);
    expect(kept.step).toBe(3); // held to the end: what is collected would be counted
  });
});

test("a run goes on with or without", async () => {
  const steps = ["train.checkpointEvery=2", "model.network.dropout=0.3"];
  const train = (name: string, ...overrides: string[]) => {
    const dir = path.join(folder, name);
    const run = fs.existsSync(dir) ? openRun(dir) : createRun({ out: dir });
    const config = loadConfig(configSchema, { file, overrides: [...steps, ...overrides] });
    return trainRun({ run, config, report: { log() {}, progress() {} } });
  };
  await train("whole", "train.steps=4");
  await train("changed", "train.steps=2", "train.recompute=levels");
  await train("changed", "train.steps=4");
  const sums = (name: string) => checkpointSums(path.join(folder, name), 4);
  const { "state.json": _state, ...expected } = sums("whole");
  expect(sums("changed")).toMatchObject(expected);
});

test("the plan counts the input of every block, and one block", async () => {
  const elements = async (recompute: string) => {
    const overrides = [`train.recompute=${recompute}`, "model.network.depth=3"];
    const { memory } = await planOf(loadConfig(configSchema, { file, overrides }));
    return (memory.activationBytes as number) / (4 * 8 * 1.5 * 64 * 64); // maps of 64 channels, 8 x 8
  };
  expect(await elements("none")).toBe(5 * 5 + 4 * 8);
  expect(await elements("levels")).toBe(8 + 10); // the middle has two blocks of five
});
