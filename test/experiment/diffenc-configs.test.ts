/** The published DiffEnc configs: each costs what the specification counts, and says what the paper's files say. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { planOf } from "../../src/experiment/plan.js";
import { root } from "./transpile.js";

const folder = path.join(root, "configs", "diffenc");

function load(name: string): Config {
  return loadConfig(configSchema, { file: path.join(folder, `${name}.yaml`), overrides: [] });
}

// Counted from the parameters of the official code, for channels of an image, width and depth.
const denoisers = {
  "mnist 8": 8_891_393,
  "cifar10 8": 8_905_219,
  "cifar10 32": 30_578_179,
  "imagenet32 32": 122_137_603,
};
const encoders = {
  "mnist 2": 1_903_937,
  "cifar10 2": 1_906_243,
  "cifar10 4": 2_744_131,
  "imagenet32 8": 4_419_907,
};

/** The published models: data, kind, blocks each way of the denoiser, blocks or kind of the encoder. */
const published = [
  "mnist-vdmv-8",
  "mnist-diffenc-8-2",
  "mnist-diffenc-8-nt",
  "mnist-vdmv-8-learned",
  "mnist-diffenc-8-2-learned",
  "mnist-diffenc-8-nt-learned",
  "cifar10-vdm-8",
  "cifar10-vdmv-8",
  "cifar10-diffenc-8-2",
  "cifar10-diffenc-8-4",
  "cifar10-diffenc-8-nt",
  "cifar10-vdmv-8-learned",
  "cifar10-diffenc-8-2-learned",
  "cifar10-diffenc-8-nt-learned",
  "cifar10-vdm-32",
  "cifar10-vdmv-32",
  "cifar10-diffenc-32-2",
  "cifar10-diffenc-32-4",
  "cifar10-diffenc-32-nt",
  "imagenet32-vdmv-32",
  "imagenet32-diffenc-32-8",
];

const small = "fashion-mnist-small-in-20-steps";

test("these are all of them", () => {
  const files = fs.readdirSync(folder).map((name) => path.basename(name, ".yaml"));
  expect(files.sort()).toEqual([...published, small].sort());
});

describe.each(published)("%s", (name) => {
  const [data = "", kind = "", depth = "", ...rest] = name.split("-");
  const learned = rest.includes("learned");
  const encoder = rest[0] === "learned" ? undefined : rest[0];
  const config = load(name);

  test("parameters", async () => {
    const count = (table: Readonly<Record<string, number>>, key: string) =>
      table[`${data} ${key}`] ?? Number.NaN;
    const ofEncoder = kind === "diffenc" && encoder !== "nt" ? count(encoders, encoder ?? "") : 0;
    const { parameters } = await planOf(config);
    expect(parameters).toBe(count(denoisers, depth) + ofEncoder + (learned ? 2 : 0));
  });

  test("model", () => {
    expect(config.system).toBe(kind === "diffenc" ? "diffenc" : "vdm");
    expect(config.model).toMatchObject({
      ...{ prediction: kind === "vdm" ? "eps" : "v", steps: 0, times: "low-discrepancy", condition: "none" },
      schedule: { kind: learned ? "learned-linear" : "fixed", gammaMin: -13.3, gammaMax: 5 },
      network: {
        ...{ kind: "vdm-unet", attention: "middle", fourierExponents: [6, 7], dropout: 0.1 },
        ...{ channels: data === "imagenet32" ? 256 : 128, depth: Number(depth) },
      },
    });
    if (config.system !== "diffenc") return;
    const { encoding, counterTerm, varianceRatio } = config.model;
    expect({ counterTerm, varianceRatio }).toEqual({ counterTerm: "sigma2", varianceRatio: 1 });
    if (encoder === "nt") return expect(encoding).toEqual({ kind: "non-trainable" });
    const blocks = Number(encoder);
    const network = {
      ...{ kind: blocks === 2 ? "unet" : "multiple-blocks", blocks, channels: 64 },
      ...{ groups: 16, blockGroups: 32, dropout: 0.1 },
    };
    expect(encoding).toMatchObject({ kind: "trainable", network });
  });

  test("training and data", () => {
    const longer: Readonly<Record<string, number>> = { "cifar10 32": 8e6, "imagenet32 32": 1.5e6 };
    const steps = longer[`${data} ${depth}`] ?? 2e6;
    const batchSize = data === "imagenet32" ? 256 : 128;
    expect(config.train).toMatchObject({ steps, batchSize, checkpointEvery: 2000, evaluateEvery: 2000 });
    expect(config.optimiser).toEqual({
      ...{ learningRate: 2e-4, betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0.01 },
      ...{ warmupSteps: 100, decay: "constant", decayEvery: null, decayFactor: 0.75 },
      ...{ clipNorm: null, emaRate: 0.9999, emaRamp: "none", rates: {} },
    });
    const split = data === "imagenet32" ? "validation" : "test";
    expect(config.data).toMatchObject({ name: data, augment: "none", evaluationSplit: split });
    expect(config.evaluate.images).toBeUndefined();
    expect(config.sample.steps).toBe(1000);
    expect(config.precision).toBe("float32");
  });
});

test("the small one in 20 steps learns schedule and variances besides what the small one does", async () => {
  const config = load(small);
  expect(config.model).toMatchObject({
    ...{ steps: 20, varianceRatio: "learned", prediction: "v", encoding: { kind: "trainable" } },
    schedule: { kind: "learned-linear", gammaMin: -13.3, gammaMax: 5 },
  });
  expect(config.sample.steps).toBe(20);
  const continuous = await planOf(load("../fashion-mnist-small/diffenc"));
  expect((await planOf(config)).parameters).toBe(continuous.parameters + 2 + 20);
});
