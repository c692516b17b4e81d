/** MuLAN's configs: the official settings and sizes, and what each ablation changes of them. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { buildSystem } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { planOf } from "../../src/experiment/plan.js";
import { ContextMuLAN, MuLAN, VDM } from "../../src/systems/index.js";
import { root } from "./transpile.js";

const folder = path.join(root, "configs");
const load = (name: string, overrides: readonly string[] = []): Config =>
  loadConfig(configSchema, { file: path.join(folder, `${name}.yaml`), overrides });
const named = (inside: string, pattern: RegExp): string[] =>
  fs
    .readdirSync(path.join(folder, inside))
    .filter((name) => pattern.test(name))
    .map((name) => `${inside}/${name.replace(".yaml", "")}`)
    .sort();

/** Parameters as the specification counts them: schedule, network of the latent, denoiser. */
const schedule = 37_917_696;
const cifar10 = schedule + 2_632_883 + 30_603_267;
/** 3072 -> 3072 and its bias: a head of the coefficients. */
const head = 3072 * 3072 + 3072;
/** The two hidden layers of the coefficients, for 50 or 10 numbers of z. */
const hidden = (m: number) => m * 3072 + 3072 + head;
/** The denoiser given one number rather than m: each costs a row of dense0. */
const fewer = (m: number) => 30_603_267 - (50 - m) * 4 * 128;
const vdmLine = 2;

test.each([
  ["mulan/cifar10", cifar10],
  ["mulan/imagenet32", schedule + 10_326_323 + 122_187_779],
  ["mulan/synthetic-frequency-halves", cifar10],
  ["mulan/ablation/full", cifar10],
  ["mulan/ablation/vdm", 30_578_179 + vdmLine],
  ["mulan/ablation/without-latent", schedule + 30_578_179],
  ["mulan/ablation/without-multivariate", cifar10],
  // heads of one number, and two ends
  ["mulan/ablation/without-multivariate-learned-ends", cifar10 - 3 * head + 3 * (3072 + 1) + 2],
  ["mulan/ablation/without-adaptivity", cifar10 - schedule],
  // kernels 1 -> 1, 51 -> 3072, 3072 -> 3072 with biases, and 3072 -> 3072 without
  ["mulan/ablation/monotone", cifar10 - schedule + 2 + hidden(51) + 3072 * 3072],
  ["mulan/ablation/sigmoid", cifar10 - head],
  ["mulan/ablation/denoiser-without-latent", cifar10 - 30_603_267 + 30_578_179],
  ["mulan/ablation/noise-map", cifar10 - 30_603_267 + 30_734_339],
  ["mulan/ablation/context-none", schedule + 30_578_179],
  // ten numbers rather than fifty: in the encoder's last layer and the schedule's first
  ["mulan/ablation/context-class", cifar10 - 40 * 1025 - 40 * 3072 - 30_603_267 + fewer(1)],
  ["mulan/ablation/context-x0", cifar10 - 40 * 1025 - 40 * 3072 - 30_603_267 + fewer(1)],
] as const)("%s has %i parameters", async (name, parameters) => {
  expect((await planOf(load(name))).parameters).toBe(parameters);
});

// Section 13 of the official settings (s-sahoo/MuLAN, configs).
test.each([
  {
    name: "cifar10",
    ...{ data: "cifar10", split: "test", batchSize: 128, steps: 1e7, channels: 128, prediction: "v" },
  },
  {
    name: "imagenet32",
    ...{ data: "imagenet32-old", split: "validation", batchSize: 512, steps: 2e6, channels: 256 },
    prediction: "eps",
  },
])("mulan/$name has the official settings", ({ name, batchSize, steps, channels, prediction, ...of }) => {
  const { data, model, train, optimiser, evaluate, sample, precision } = load(`mulan/${name}`);
  expect(data).toMatchObject({ name: of.data, evaluationSplit: of.split, augment: "none", variant: "none" });
  expect(train).toMatchObject({ batchSize, steps, seed: 1, checkpointEvery: 1e4, evaluateEvery: 1e4 });
  expect(evaluate.batchSize).toBe(batchSize);
  expect(optimiser).toEqual({
    ...{ learningRate: 2e-4, betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0.01 },
    ...{ warmupSteps: 100, decay: "constant", decayEvery: null, decayFactor: 0.75 },
    ...{ clipNorm: null, emaRate: 0.9999, emaRamp: "none", rates: {} },
  });
  const block = { channels, attention: "middle", fourierExponents: [6, 7], dropout: 0.1 };
  expect(model).toEqual({
    schedule: {
      ...{ kind: "polynomial", gammaMin: -13.3, gammaMax: 5, ends: "fixed", pixels: "each", form: "free" },
      start: "spread",
    },
    condition: "z",
    latent: { kind: "k-hot", size: 50, k: 15, noise: "gamma", gammaScale: "official", kl: "categorical" },
    encoder: { kind: "unet", depth: 4, ...block },
    network: { kind: "vdm-unet", depth: 32, noiseLevel: "mean", ...block },
    classes: 10,
    denoiserCondition: "with-latent",
    prediction,
    steps: 0,
    times: "low-discrepancy",
  });
  expect({ sampling: sample.steps, precision }).toEqual({ sampling: 1000, precision: "float32" });
});

describe("ablations", () => {
  const all = named("mulan/ablation", /\.yaml$/);

  test.each(all)("%s: CIFAR-10, batches of 64, 2.5 million steps, noise prediction", (name) => {
    const { data, train, model, evaluate } = load(name);
    const steps = name.includes("context") ? 300_000 : 2_500_000;
    expect({ data: data.name, ...train }).toMatchObject({ data: "cifar10", batchSize: 64, steps, seed: 1 });
    expect(evaluate.batchSize).toBe(64);
    expect(model).toMatchObject({ prediction: "eps" });
    expect(model.network).toMatchObject({ channels: 128, depth: 32, dropout: 0.1 });
  });

  test.each(["none", "class", "x0"])(
    "context %s: a chain whose T is chosen on the command line",
    (condition) => {
      const name = `mulan/ablation/context-${condition}`;
      for (const [T, config] of [
        [100, load(name)],
        [10, load(name, ["model.steps=10"])],
        [1000, load(name, ["model.steps=1000"])],
      ] as const) {
        expect(config.model).toMatchObject({ condition, steps: T });
        const { system } = buildSystem(config, [3, 32, 32]);
        expect(system).toBeInstanceOf(condition === "none" ? MuLAN : ContextMuLAN);
      }
    },
  );

  test("the sigmoid's ends can be learned, as in the code", () => {
    const { system } = buildSystem(
      load("mulan/ablation/sigmoid", ["model.schedule.ends=learned"]),
      [3, 32, 32],
    );
    expect(system.parameterCount()).toBe(cifar10 - head + 2 * 3072);
  });

  test("the control is VDM", () => {
    expect(buildSystem(load("mulan/ablation/vdm"), [3, 32, 32]).system).toBeInstanceOf(VDM);
  });
});

describe("the small set", () => {
  const small = named("fashion-mnist-small", /^mulan.*\.yaml$/);

  test.each(small)("%s differs from the control in its forward process alone", (name) => {
    const control = load("fashion-mnist-small/vdm");
    const config = load(name);
    const { variant, ...data } = config.data;
    // The schedule learns more slowly than what the control has too.
    expect(Object.keys(config.optimiser.rates)).toEqual(["schedule"]);
    const optimiser = { ...config.optimiser, rates: {} };
    expect({ ...config, optimiser, system: "vdm", model: {}, data: { ...data, variant: "none" } }).toEqual({
      ...control,
      model: {},
    });
    const { channels, depth, attention, dropout } = control.model.network;
    expect(config.model.network).toMatchObject({ channels, depth, attention, dropout });
    expect(variant === "none").toBe(!name.includes("synthetic"));
    if (variant !== "none") expect(name).toContain(variant);
    expect(buildSystem(config, [1, 28, 28]).system.parameterCount()).toBeGreaterThan(0);
  });
});
