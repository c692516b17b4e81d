/** Official checkpoints of cold diffusion as runs: which part is taken, under which names, and what is refused. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { importCommand } from "../../src/cli/import.js";
import { sampleCommand } from "../../src/cli/sample.js";
import { buildModel } from "../../src/experiment/experiment.js";
import {
  checkpointOf,
  perform,
  readConfig,
  renamed,
  sums,
  type Weights,
  weightsOf,
  writeWeights,
} from "../cli/chain.js";
import { ownFolder } from "../golden.js";
import { python, runPython } from "../pytorch.js";
import { temporaryFolder, writeTiny } from "./tiny.js";
import { root } from "./transpile.js";

let folder: string;
const at = (name: string) => path.join(folder, name);
beforeAll(() => {
  folder = temporaryFolder();
  writeTiny(folder);
});
afterEach(() => vi.restoreAllMocks());
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Writes a config of `writeTiny`'s images; returns its path. */
function configOf(
  name: string,
  system: string,
  model: string,
  { residualBlocks = 1 }: { readonly residualBlocks?: number } = {},
): string {
  const kind = system === "cold" ? "cold-unet" : "variational-unet, latentSize: 4";
  fs.writeFileSync(
    at(`${name}.yaml`),
    `system: ${system}
data: { name: idx, path: ${JSON.stringify(at("data"))} }
model: { ${model}, network: { kind: ${kind}, channels: 16, channelMultipliers: [1, 2], residualBlocks: ${residualBlocks}, attentionLevels: [1], groups: 8, dropout: 0 } }
train: { steps: 2, batchSize: 8, sampleEvery: 0 }
sample: { count: 4 }
precision: float32
threads: 1
`,
  );
  return at(`${name}.yaml`);
}

const imported = (...args: string[]) => perform(importCommand(), "variational-cold-diffusion", ...args);

const scalar = { dtype: "F32", shape: [1], data: new Uint8Array(4) } as const;

/** Official names in their order: a network's own parameters. */
function officialOf(config: string): Weights {
  return weightsOf(readConfig(config), { prefix: "network.", seed: 7 });
}

const named = (weights: Weights) => sums(renamed(weights, (name) => `network.${name}`));

describe("a state dict", () => {
  test("of a model with latents, from several GPUs, is a run that samples", async () => {
    const config = configOf("vwd", "vcd", "degradation: { kind: black-blur, levels: 3 }, perturbation: vwd");
    const weights = officialOf(config);
    const file = writeWeights(
      folder,
      "vwd.pt",
      renamed(weights, (name) => `module.${name}`),
    );
    const run = at("vwd");
    await imported(file, "--config", config, "--out", run, "--step", "7");
    expect(sums(checkpointOf(run, 7, "weights"))).toEqual(named(weights));
    const { stdout } = await perform(sampleCommand(), run, "--json");
    expect(JSON.parse(stdout)).toMatchObject({ count: 4, steps: 3, step: 7 });
  });

  test("what the config's network has not is named, and no run is left", async () => {
    const config = configOf("plain", "cold", "degradation: { kind: blur, levels: 3 }");
    const weights = officialOf(config);
    const more = new Map(weights).set("autoencoder.dense.bias", scalar);
    const file = writeWeights(folder, "more.pt", more);
    const run = at("more");
    await expect(imported(file, "--config", config, "--out", run)).rejects.toThrow(
      /expected the parameters of the config in .*more\.pt; unknown: network\.autoencoder\.dense\.bias:/,
    );
    expect(fs.existsSync(run)).toBe(false);
    await expect(imported(file, "--denoiser", file, "--config", config, "--out", run)).rejects.toThrow(
      "expected a denoiser's file with a config of system daed only",
    );
    await expect(imported(file, "--config", at("tiny.yaml"), "--out", run)).rejects.toThrow(
      "expected a config of system vcd or cold for weights of variational cold diffusion, got vdm",
    );
  });
});

test("the names of its parameters, in their order, are those that official checkpoints have", () => {
  const config = readConfig(path.join(root, "configs", "cold", "mnist-vcd.yaml"));
  const { system } = buildModel(config, [1, 28, 28]);
  const lists = JSON.parse(fs.readFileSync(path.join(ownFolder, "vcd", "parameter_lists.json"), "utf8"));
  const found = Array.from(system.namedParameters(), ([name, { shape }]) => [name, shape]);
  const official = (lists["mnist.vae.t2"].params as [string, number[]][]).map(([name, shape]) => [
    `network.${name}`,
    shape,
  ]);
  expect(found).toEqual(official);
});

/** Of parameters by these names and shapes, as main.py of VariationalColdDiffusion saves it, and as scripts/utils.py of IHDM does. */
const layouts = {
  vcd: {
    key: "model_state_dict",
    emaKey: "ema_state_dict.shadow_params",
    saved:
      "{'epoch': 5, 'model_state_dict': state, 'optimizer_state_dict': adam, 'ema_state_dict': ema, 'kwargs': {'dim': 16}}",
  },
  ihdm: {
    key: "model",
    emaKey: "ema.shadow_params",
    saved:
      "{'optimizer': adam, 'model': {'module.' + k: v for k, v in state.items()}, 'step': 5, 'ema': ema}",
  },
} as const;

test.skipIf(python === undefined)(
  "checkpoints that PyTorch saved: the model and its average, under their keys",
  async () => {
    const config = configOf("saved", "cold", "degradation: { kind: blur, levels: 3 }");
    const names = [...officialOf(config)].map(([name, { shape }]) => [name, shape]);
    runPython(folder, [
      `shapes = ${JSON.stringify(names)}`,
      "state = collections.OrderedDict((name, torch.full(shape, float(i))) for i, (name, shape) in enumerate(shapes))",
      "parameters = [torch.nn.Parameter(p.clone()) for p in state.values()]",
      "optimiser = torch.optim.Adam(parameters)",
      "sum(p.sum() for p in parameters).backward(); optimiser.step()",
      "adam = optimiser.state_dict()",
      "ema = dict(decay=0.998, num_updates=5, shadow_params=[v + 0.5 for v in state.values()])",
      ...Object.entries(layouts).map(([name, { saved }]) => `torch.save(${saved}, "${name}.pt")`),
    ]);
    for (const [name, { key, emaKey }] of Object.entries(layouts)) {
      const [file, run] = [at(`${name}.pt`), at(`${name}-run`)];
      await expect(imported(file, "--config", config, "--out", run)).rejects.toThrow(
        `choose the key "${key}" or "${emaKey}"`,
      );
      const ema = ["--ema", file, "--ema-key", emaKey];
      await imported(file, "--key", key, ...ema, "--config", config, "--out", run);
      for (const [stem, more] of [
        ["weights", 0],
        ["ema", 0.5],
      ] as const) {
        const kept = checkpointOf(run, 0, stem);
        expect([...kept.keys()]).toEqual(names.map(([name]) => `network.${name}`));
        [...kept.values()].forEach(({ data }, i) => {
          expect(new Float32Array(data.slice().buffer).every((value) => value === i + more)).toBe(true);
        });
      }
    }
    const other = configOf("other", "cold", "degradation: { kind: blur, levels: 3 }", { residualBlocks: 2 });
    await expect(
      imported(at("vcd.pt"), "--key", layouts.vcd.emaKey, "--config", other, "--out", at("other")),
    ).rejects.toThrow(/expected \d+ tensors, those of the config's parameters, in a list of them, got \d+/);
  },
);
