/** DDGM's and DAED's configs: the published settings and sizes, and what each changes of them. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { buildSystem } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { DAED, DDGM } from "../../src/systems/index.js";
import { root } from "./transpile.js";

const folder = path.join(root, "configs", "daed");
const load = (name: string): Config =>
  loadConfig(configSchema, { file: path.join(folder, `${name}.yaml`), overrides: [] });
const named = (pattern: RegExp): string[] =>
  fs
    .readdirSync(folder)
    .filter((name) => pattern.test(name))
    .map((name) => name.replace(".yaml", ""))
    .sort();

const shapes = {
  "fashion-mnist": [1, 28, 28],
  cifar10: [3, 32, 32],
  celeba: [3, 64, 64],
} as const;
type Data = keyof typeof shapes;

/** The published commands, and the paper's table 6: channels, batch, steps of training. */
const commands = {
  "fashion-mnist": { channels: 64, batchSize: 128, steps: 100_000 },
  cifar10: { channels: 128, batchSize: 160, steps: 500_000 },
  celeba: { channels: 128, batchSize: 160, steps: 200_000 },
} as const;

/** T of DDGM and of each variance of the denoiser; those of 0.001 have DDGM's schedule. */
const chains: Readonly<Record<Data, Readonly<Record<string, number>>>> = {
  "fashion-mnist": { ddgm: 500, "0.001": 500, "0.025": 489, "0.1": 468, "0.2": 445, "0.3": 426 },
  cifar10: { ddgm: 1000, "0.001": 1000, "0.025": 979, "0.1": 900, "0.2": 891 },
  celeba: { ddgm: 1000, "0.001": 1000, "0.025": 979, "0.1": 900, "0.2": 890 },
};

const rows = (Object.keys(shapes) as Data[]).flatMap((data) =>
  Object.entries(chains[data]).flatMap(([model, T]) =>
    (["simple", "vlb"] as const).map((loss) => ({
      ...{ data, T, loss, firstBeta: Number(model) },
      name: `${data}-${model === "ddgm" ? "ddgm" : `daed-${model}`}-${loss}`,
    })),
  ),
);

test("there is a config for every row of the paper's tables", () => {
  const kinds = /^(fashion-mnist|cifar10|celeba)-(ddgm|daed-[\d.]+)-(simple|vlb)\.yaml$/;
  expect(named(kinds)).toEqual(rows.map(({ name }) => name).sort());
});

describe.each(rows)("$name", ({ name, data, T, loss, firstBeta }) => {
  const config = load(name);
  const ddgm = Number.isNaN(firstBeta);
  const combined = firstBeta > 0.001;
  const { system } = buildSystem(config, shapes[data]);

  test("data, training and optimiser", () => {
    const { batchSize, steps } = commands[data];
    expect(config.data).toMatchObject({ name: data, augment: "none", variant: "none" });
    expect(config.train).toMatchObject({ steps, batchSize, from: null, only: [] });
    expect(config.optimiser).toEqual({
      ...{ learningRate: 1e-4, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 },
      ...{ warmupSteps: 0, decay: "constant", decayEvery: null, decayFactor: 0.75 },
      ...{ clipNorm: null, emaRate: 0.9999, emaRamp: "none", rates: {} },
    });
    expect(config.sample).toMatchObject({ steps: T, sampler: "ancestral" });
    expect(config.precision).toBe("float32");
  });

  test("schedule, loss and network", () => {
    expect(config.model).toMatchObject({
      schedule: combined ? { kind: "linear-combine", steps: T, firstBeta } : { kind: "linear", steps: T },
      sampling: combined ? "dae-uniform" : "uniform",
      loss,
      variance: loss === "vlb" ? "learned-range" : "fixed-large",
      ...{ mean: "eps", timesteps: "plain", condition: "none" },
    });
    expect(config.model.network).toEqual({
      ...{
        kind: "guided-unet",
        channels: commands[data].channels,
        channelMultipliers: null,
        residualBlocks: 3,
      },
      ...{ attentionResolutions: [16, 8], heads: 4, headChannels: null, headsUpsample: null, dropout: 0.3 },
      ...{ scaleShift: "scale-shift", resampling: "convolution", attentionOrder: "legacy", groups: 32 },
    });
    expect(system).toBeInstanceOf(ddgm ? DDGM : DAED);
    expect((system as DDGM | DAED).steps).toBe(T);
    // The first beta of linear(500) is 0.002, that of linear(1000) 0.001.
    const first = combined ? firstBeta : 1 / T;
    expect((system as DDGM | DAED).chain.tables.betas[0]).toBeCloseTo(first, 14);
    if (system instanceof DAED) {
      expect(system.firstBeta).toBeCloseTo(first, 14);
      expect(system.samplingSteps).toBe(T);
    }
  });

  test("parameters: those of the official network, twice in DAED", () => {
    // Counted from the official state dicts; C more channels of output are 3 x 3 x width x C weights and C biases.
    const single = { "fashion-mnist": 8_799_105, cifar10: 52_542_979, celeba: 121_060_483 }[data];
    const [channels] = shapes[data];
    const variances = loss === "vlb" ? channels * (9 * commands[data].channels + 1) : 0;
    expect(system.parameterCount()).toBe((single + variances) * (ddgm ? 1 : 2));
    if (data === "fashion-mnist" && loss === "vlb") expect(single + variances).toBe(8_799_682);
  });
});

describe("a denoiser by itself", () => {
  test.each([
    ["fashion-mnist", [1, 28, 28], 468, 8_799_105],
    ["cifar10", [3, 32, 32], 900, 52_542_979],
    ["celeba", [3, 64, 64], 900, 121_060_483],
    ["imagenet64", [3, 64, 64], 900, 121_060_483],
    ["imagenet32", [3, 32, 32], 900, 52_542_979],
  ] as const)("%s", (name, shape, T, parameters) => {
    const config = load(`${name}-denoiser-0.1`);
    expect(config).toMatchObject({ system: "daed", data: { name } });
    expect(config.model).toMatchObject({
      ...{ parts: "denoiser", split: null, loss: "simple", variance: "fixed-large" },
      schedule: { kind: "linear-combine", steps: T, firstBeta: 0.1 },
    });
    // Nothing of it can be drawn or measured by a bound: a training that tried would end there.
    expect(config.train).toMatchObject({ sampleEvery: 0, evaluateEvery: 0 });
    expect(buildSystem(config, shape).system.parameterCount()).toBe(parameters);
  });
});

describe("the transfer experiment's DDGMs: improved-diffusion's flags", () => {
  // Parameters: of the network with C channels of output, and of C more, 3 (9 x 128 + 1).
  const sources = [
    { source: "cifar10", size: 32, dropout: 0.3, steps: 500_000, split: "test", parameters: 52_546_438 },
    {
      source: "imagenet64",
      size: 64,
      dropout: 0,
      steps: 1_500_000,
      split: "validation",
      parameters: 121_063_942,
    },
  ] as const;

  test.each(sources.flatMap((each) => (["hybrid", "vlb"] as const).map((loss) => ({ ...each, loss }))))(
    "transfer-$source-ddgm-$loss",
    ({ source, size, dropout, steps, split, parameters, loss }) => {
      const config = load(`transfer-${source}-ddgm-${loss}`);
      expect(config.data).toMatchObject({ name: source, evaluationSplit: split });
      expect(config.train).toMatchObject({ steps, batchSize: 128 });
      expect(config.optimiser).toMatchObject({ learningRate: 1e-4, weightDecay: 0, emaRate: 0.9999 });
      expect(config.model).toMatchObject({
        schedule: { kind: "cosine", steps: 4000 },
        ...{ loss, variance: "learned-range", mean: "eps", timesteps: "rescaled" },
        sampling: loss === "vlb" ? "loss-second-moment" : "uniform",
        network: { channels: 128, residualBlocks: 3, dropout, attentionResolutions: [16, 8], heads: 4 },
      });
      expect(config.sample).toMatchObject({ steps: 4000, sampler: "ancestral-clipped" });
      const { system } = buildSystem(config, [3, size, size]);
      expect(system).toBeInstanceOf(DDGM);
      expect(system.parameterCount()).toBe(parameters);
    },
  );
});

describe("the small set", () => {
  const small = fs.readdirSync(path.join(folder, "fashion-mnist-small"));

  test.each(small)("%s differs from the control in loss and split alone", (file) => {
    const control = load("fashion-mnist-small/ddgm-simple");
    const config = load(`fashion-mnist-small/${file.replace(".yaml", "")}`);
    expect({ ...config, system: "ddgm", model: {} }).toEqual({ ...control, model: {} });
    expect(config.model.network).toEqual(control.model.network);
    const { system } = buildSystem(config, [1, 28, 28]);
    expect((system as DDGM | DAED).steps).toBeGreaterThanOrEqual(config.sample.steps ?? 250);
  });
});
