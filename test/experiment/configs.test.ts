/** The configs that come with the package: each loads, and costs what its source says, without a tensor being made. */
import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { planOf } from "../../src/experiment/plan.js";
import { models, systems } from "../../src/systems/index.js";
import { root } from "./transpile.js";

const folder = path.join(root, "configs");
const files = fs
  .readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".yaml"))
  .sort();

function load(name: string): Config {
  return loadConfig(configSchema, { file: path.join(folder, name), overrides: [] });
}

test.each(files)("%s loads, and a comment says what it is", (name) => {
  expect(Object.keys({ ...systems, ...models })).toContain(load(name).system);
  expect(fs.readFileSync(path.join(folder, name), "utf8")).toMatch(/^# \S/);
});

/** Of the schedule: w and b, or the kernels 1x1, 1x1024, 1024x1 and biases 1, 1024 of the monotone network. */
const learnedLinear = 2;
const monotone = 1 + 1024 + 1024 + 1 + 1024;

// Networks: counted from the parameters of the official code, for C, E, L and attention.
test.each([
  { name: "vdm/cifar10.yaml", network: 30_578_179, schedule: learnedLinear },
  { name: "vdm/cifar10-augmented.yaml", network: 122_137_603, schedule: monotone },
  { name: "vdm/cifar10-augmented-paper.yaml", network: 139_276_803, schedule: monotone },
  { name: "vdm/imagenet32.yaml", network: 122_137_603, schedule: learnedLinear },
  { name: "vdm/imagenet64.yaml", network: 237_603_843, schedule: learnedLinear },
  { name: "vdm/mnist.yaml", network: 8_891_393, schedule: learnedLinear },
  { name: "vdm/fashion-mnist.yaml", network: 8_891_393, schedule: learnedLinear },
])("$name has $network parameters beside its schedule", async ({ name, network, schedule }) => {
  expect((await planOf(load(name))).parameters).toBe(network + schedule);
});

// The official settings (google-research/vdm, configs/*.py): data, dropout, batch, rate, steps.
test.each([
  { name: "cifar10", dropout: 0.1, batchSize: 128, learningRate: 2e-4, steps: 1e7, split: "test" },
  { name: "cifar10-augmented", dropout: 0.05, batchSize: 768, learningRate: 1e-4, steps: 1e8, split: "test" },
  {
    name: "cifar10-augmented-paper",
    dropout: 0.05,
    batchSize: 1024,
    learningRate: 2e-4,
    steps: 1e8,
    split: "test",
  },
  { name: "imagenet32", dropout: 0.1, batchSize: 128, learningRate: 2e-4, steps: 1e7, split: "validation" },
  { name: "imagenet64", dropout: 0.1, batchSize: 128, learningRate: 2e-4, steps: 1e7, split: "validation" },
])("vdm/$name.yaml has the official settings", ({ name, dropout, batchSize, learningRate, steps, split }) => {
  const { data, model, train, optimiser, precision } = load(`vdm/${name}.yaml`);
  expect({ ...train }).toMatchObject({ batchSize, steps, seed: 1 });
  expect(optimiser).toEqual({
    ...{ learningRate, betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0.01 },
    ...{ warmupSteps: 100, decay: "constant", decayEvery: null, decayFactor: 0.75 },
    ...{ clipNorm: null, emaRate: 0.9999, emaRamp: "none", rates: {} },
  });
  expect(model).toMatchObject({
    ...{ prediction: "eps", steps: 0, times: "low-discrepancy", scheduleGradient: "bound" },
    schedule: { gammaMin: -13.3, gammaMax: 5 },
    network: { dropout, fourierExponents: [6, 7] },
  });
  const augmented = name.includes("augmented");
  expect(data.augment).toBe(augmented ? "flip-rotate" : "none");
  expect(model.condition).toBe(augmented ? "augmentation" : "none");
  expect({ split: data.evaluationSplit, precision }).toEqual({ split, precision: "float32" });
});

test("a decay by steps says after how many", () => {
  const load = (...overrides: string[]) => loadConfig(configSchema, { text: "system: vdm", overrides });
  expect(() => load("optimiser.decay=steps")).toThrow(
    'missing key "optimiser.decayEvery": expected a whole number where optimiser.decay is steps',
  );
  expect(() => load("optimiser.decay=steps", "optimiser.decayEvery=null")).toThrow("found null");
  const { optimiser } = load("optimiser.decay=steps", "optimiser.decayEvery=500", "optimiser.emaRamp=ramp");
  expect(optimiser).toMatchObject({ decay: "steps", decayEvery: 500, decayFactor: 0.75, emaRamp: "ramp" });
});

test("what no machine can hold is refused before anything is built", () => {
  const texts = {
    vdm: "system: vdm\nmodel: { network: { kind: vdm-unet } }",
    vcd: "system: vcd\nmodel: { network: { kind: variational-unet }, degradation: { kind: black-blur } }",
  };
  const refused = (system: keyof typeof texts, override: string) => () =>
    loadConfig(configSchema, { text: texts[system], overrides: [override] });
  expect(refused("vdm", "model.network.depth=1001")).toThrow(
    '--set model.network.depth=1001: "model.network.depth" must be at most 1000; found 1001',
  );
  expect(refused("vdm", "model.network.depth=1000")).not.toThrow();
  expect(refused("vcd", "model.network.residualBlocks=100000")).toThrow(/must be at most 1000; found 100000/);
  expect(refused("vcd", "model.degradation.levels=1000000000")).toThrow(/must be at most 10000; found/);
});
