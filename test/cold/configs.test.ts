/** The published configs of cold diffusion: each builds, and says what its source's tables say. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { buildSystem } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { ColdDiffusion } from "../../src/systems/cold.js";
import { HeatDissipation } from "../../src/systems/heat.js";
import { VariationalColdDiffusion } from "../../src/systems/vcd.js";
import { root } from "../experiment/transpile.js";

const folder = path.join(root, "configs", "cold");
const load = (name: string): Config =>
  loadConfig(configSchema, { file: path.join(folder, `${name}.yaml`), overrides: [] });

/** The framework's data sets: specification of VCD, 5.3, 5.7, 9.1. */
const datasets = {
  mnist: {
    ...{ data: { name: "mnist" }, shape: [1, 28, 28], levels: 6, trained: 60_000 },
    unet: { channels: 64, channelMultipliers: [1, 2, 2], residualBlocks: 2, attentionLevels: [2] },
    ...{ dropout: 0.1, batchSize: 64, latentSize: 128, beta: 0.004, noise: 0.002, annealing: 0 },
    parameters: { one: 6_469_889, two: 6_945_025, latent: 8_683_489 },
  },
  cifar10: {
    ...{ data: { name: "cifar10" }, shape: [3, 32, 32], levels: 6, trained: 50_000 },
    unet: { channels: 64, channelMultipliers: [1, 2, 2, 2], residualBlocks: 4, attentionLevels: [2, 3] },
    ...{ dropout: 0.1, batchSize: 64, latentSize: 256, beta: 0.004, noise: 0.004, annealing: 20_000 },
    parameters: { one: 15_293_315, two: 16_391_043, latent: 19_934_147 },
  },
  afhq64: {
    ...{ data: { name: "images", size: 64 }, shape: [3, 64, 64], levels: 8, trained: 14_624 },
    unet: { channels: 128, channelMultipliers: [1, 2, 3, 4], residualBlocks: 2, attentionLevels: [2, 3] },
    ...{ dropout: 0.2, batchSize: 32, latentSize: 512, beta: 0.005, noise: 0.005, annealing: 30_000 },
    parameters: { one: 88_217_219, two: 92_018_307, latent: 112_539_715 },
  },
} as const;

/** The sizes of images that are no known data set's, which are not opened here. */
const shapes: Readonly<Record<string, readonly [number, number, number]>> = {
  mnist: [1, 28, 28],
  cifar10: [3, 32, 32],
};

function built(config: Config) {
  const { name, size } = config.data;
  const [channels, height, width] = shapes[name] ?? [3, size ?? 0, size ?? 0];
  return buildSystem(config, size === undefined ? [channels, height, width] : [channels, size, size]).system;
}

const published = fs
  .readdirSync(folder)
  .filter((name) => name.endsWith(".yaml"))
  .map((name) => name.replace(".yaml", ""));

test("every config is one of those below", () => {
  const framework = Object.keys(datasets).flatMap((name) =>
    ["", "-vcd", "-vwd", "-ddpm", "-ihdm", "-bansal"].map((kind) => `${name}${kind}`),
  );
  const others = [...Object.keys(heat), ...Object.keys(bansal)];
  expect(published.sort()).toEqual([...framework, "afhq64-pixelation-vcd", ...others].sort());
});

describe.each(Object.entries(datasets))("%s of the framework", (name, of) => {
  const { unet, dropout, latentSize, parameters, levels } = of;

  test.each(["", "-vcd", "-vwd", "-ddpm", "-ihdm", "-bansal"])("training of %s", (kind) => {
    const { data, train, optimiser, sample, precision } = load(`${name}${kind}`);
    expect(data).toMatchObject({ ...of.data, augment: "none" });
    // 6.7, 10: epochs 1 .. 999, the last partial batch kept; of AFHQ dropped, which leaves 14,624 of its 14,630 images.
    const epoch = Math.ceil(of.trained / of.batchSize);
    expect(train).toMatchObject({ batchSize: of.batchSize, steps: 999 * epoch, sampleEvery: 5 * epoch });
    expect(optimiser).toEqual({
      ...{ learningRate: 1e-4, betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0, warmupSteps: 0 },
      ...{ decay: "steps", decayEvery: 500 * epoch, decayFactor: 0.75, clipNorm: null, rates: {} },
      ...{ emaRate: 0.998, emaRamp: "ramp" },
    });
    expect(sample).toMatchObject({ count: 32, steps: null, sampler: "ancestral" });
    expect(precision).toBe("float32");
  });

  test.each(["vcd", "vwd"] as const)("%s", (perturbation) => {
    const config = load(`${name}-${perturbation}`);
    expect(config.model).toMatchObject({
      ...{ perturbation, beta: of.beta, klAnnealing: of.annealing, prediction: "previous", inputDropout: 0 },
      degradation: { kind: "black-blur", levels, fading: "cosine", firstWidth: 1, lastReached: "twice" },
      network: { ...unet, dropout, latentSize, location: "emb", injection: "concat", times: "two" },
      ...(perturbation === "vwd" ? { overlookedNoise: of.noise } : {}),
      teacher: { level: "input", resetProbability: 0.125, warmResetProbability: 0.3, warmup: 500 },
      ...{ jump: 1, trainedJumps: "one", levelNumbers: "from-zero", lossWeighting: "none" },
    });
    const system = built(config);
    expect(system).toBeInstanceOf(VariationalColdDiffusion);
    expect(system.parameterCount()).toBe(parameters.latent);
    expect(system).toMatchObject({ lossUnit: "squared error per image, and divergence", levels });
  });

  // 9.2, and 6.3 for the losses: sums over the image, absolute for clean images.
  test.each([
    ["", { prediction: "previous", inputNoise: 0 }, "black-blur", levels, "two", "squared"],
    ["-ddpm", { prediction: "eps", inputNoise: 0 }, "noise", levels, "one", "squared"],
    ["-ihdm", { prediction: "previous", inputNoise: 0.01 }, "blur", 200, "two", "squared"],
    ["-bansal", { prediction: "x0", startNoise: 0.002 }, "blur", levels, "one", "absolute"],
  ] as const)("baseline%s", (suffix, model, kind, steps, times, distance) => {
    const config = load(`${name}${suffix}`);
    expect(config.model).toMatchObject({ ...model, degradation: { kind, levels: steps } });
    expect(config.model.network).toMatchObject({ ...unet, dropout, times });
    const system = built(config);
    expect(system).toBeInstanceOf(ColdDiffusion);
    expect(system.parameterCount()).toBe(parameters[times]);
    expect(system).toMatchObject({ lossUnit: `${distance} error per image`, levels: steps });
    if (suffix === "-ihdm") expect((system as ColdDiffusion).stepNoise).toBeCloseTo(0.0125, 15);
  });
});

test("pixelation on AFHQ: the official job script (9.1)", () => {
  const config = load("afhq64-pixelation-vcd");
  expect(config.model).toMatchObject({
    degradation: { kind: "black-pixelation", levels: 8 },
    network: { channels: 64, latentSize: 512, channelMultipliers: [1, 2, 3, 4] },
    ...{ perturbation: "vcd", beta: 0.004, klAnnealing: 10_000 },
  });
  expect(config.train).toEqual(load("afhq64-vcd").train);
  expect(built(config)).toMatchObject({ levels: 8 });
});

/** Specification of the baselines, 3.6. */
const heat = {
  "ihdm-mnist": [100, 20, 128, [1, 2, 2], 4, [2], 0.1, 0.999, 128, 2e-4, 28],
  "ihdm-mnist-small": [50, 20, 64, [1, 1, 1], 4, [2], 0.1, 0.999, 128, 2e-4, 28],
  "ihdm-cifar10": [200, 24, 128, [1, 2, 2, 2], 4, [2, 3], 0.1, 0.999, 128, 2e-4, 32],
  "ihdm-afhq64": [200, 32, 128, [1, 2, 3, 4], 2, [2, 3], 0.1, 0.999, 128, 1e-4, 64],
  "ihdm-afhq256": [200, 128, 128, [1, 2, 3, 4, 5], 3, [2, 3, 4], 0.3, 0.9999, 32, 1e-4, 256],
  "ihdm-ffhq128": [200, 128, 128, [1, 2, 3, 4, 5], 2, [2, 3, 4], 0.1, 0.9999, 32, 2e-4, 128],
  "ihdm-ffhq256": [200, 128, 128, [1, 2, 3, 4, 5], 3, [2, 3, 4], 0.3, 0.9999, 32, 2e-5, 256],
  "ihdm-lsun-church128": [400, 64, 128, [1, 2, 3, 4, 5], 4, [2, 3, 4], 0.1, 0.999, 32, 2e-5, 128],
} as const;

test.each(Object.entries(heat))("%s: inverse heat dissipation as its authors have it", (name, row) => {
  const [levels, lastWidth, channels, channelMultipliers, residualBlocks, attentionLevels] = row;
  const [, , , , , , dropout, emaRate, batchSize, learningRate, side] = row;
  const config = load(name);
  expect(config.model).toMatchObject({
    degradation: { kind: "blur", levels, firstWidth: 0.5, lastWidth, lastReached: "once" },
    network: { channels, channelMultipliers, residualBlocks, attentionLevels, dropout, times: "one" },
    ...{ inputNoise: 0.01, levelNumbers: "from-one", trainedLevels: "all", prediction: "previous" },
  });
  expect(config.train).toMatchObject({ steps: 1_300_001, batchSize });
  expect(config.optimiser).toEqual({
    ...{ learningRate, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0, warmupSteps: 5000 },
    ...{ decay: "constant", decayEvery: null, decayFactor: 0.75, clipNorm: 1, rates: {} },
    ...{ emaRate, emaRamp: "ramp" },
  });
  const system = built(config);
  expect(system.shape.slice(1)).toEqual([side, side]);
  // What has a bound: noise at every level, from blurred training images.
  if (!(system instanceof HeatDissipation)) throw new Error("expected inverse heat dissipation");
  expect(system).toMatchObject({ steps: levels, stepNoise: 0.0125, startFitting: { fitted: false } });
});

/** Specification of the baselines, 4.3: data, T, size, widths, scale, padding, last. */
const bansal = {
  "bansal-mnist": ["mnist", 32, 20, 11, "constant", 7, "circular", "blurred"],
  "bansal-cifar10": ["cifar10", 32, 50, 11, "linear", 0.01, "reflect", "blurred"],
  "bansal-celeba128": ["celeba", 128, 200, 15, "exponential", 0.01, "reflect", "blurred"],
  "bansal-celeba128-generation": ["celeba", 128, 300, 27, "exponential", 0.01, "circular", "mean"],
  "bansal-afhq128-generation": ["images", 128, 300, 27, "exponential", 0.01, "circular", "mean"],
} as const;

test.each(Object.entries(bansal))("%s: cold diffusion as its authors have it", (name, row) => {
  const [data, side, levels, size, widths, scale, padding, last] = row;
  const config = load(name);
  expect(config.data.name).toBe(data);
  expect(config.model).toMatchObject({
    degradation: { kind: "gaussian-blur", levels, size, widths, scale, padding, last },
    ...{ prediction: "x0", inputNoise: 0, levelNumbers: "from-zero", network: { times: "one" } },
  });
  // 4.4: noise of 0.002 on colours of [-1, 1] is half of that on [0, 1].
  expect(config.model).toMatchObject({ startNoise: last === "mean" ? 0.001 : null });
  expect(config.train).toMatchObject({ steps: 700_000, batchSize: 2 * 32 });
  expect(config.optimiser).toMatchObject({
    ...{ learningRate: 2e-5, betas: [0.9, 0.999], weightDecay: 0, decay: "constant", clipNorm: null },
  });
  expect(config.optimiser.emaRate ** 10).toBeCloseTo(0.995, 4);
  const system = built(config);
  expect(system.shape.slice(1)).toEqual([side, side]);
  expect(system).toMatchObject({ lossUnit: "mean absolute error", startFitting: { fitted: false } });
});
