/** Tiny chains through the trainer: learning images by heart, going on bit for bit, two networks under one optimiser. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { memorySource } from "../../src/data/index.js";
import { configSchema } from "../../src/experiment/config.js";
import { buildSystem } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { createRun, openRun } from "../../src/experiment/run-folder.js";
import { Trainer } from "../../src/experiment/trainer.js";
import { trainRun } from "../../src/experiment/training-run.js";
import { liveTensors, loadTensors, Streams, setThreads } from "../../src/torch/index.js";
import { checkpointSums, temporaryFolder, writeTiny } from "../experiment/tiny.js";

const shape = [1, 8, 8] as const;
const machine = { device: "cpu", precision: "float32", threads: 1 } as const;

/** Sixteen images: a bright quarter somewhere on dark. */
const source = memorySource(
  { name: "quarters", split: "train", shape, length: 16, origin: "made here" },
  Uint8Array.from({ length: 16 * 64 }, (_, i) => {
    const [image, row, column] = [i >> 6, (i >> 3) & 7, i & 7];
    const [top, left] = [image >> 2, image & 3];
    return row >= top && row < top + 4 && column >= left && column < left + 4 ? 230 : 25;
  }),
);

const network = `{ kind: guided-unet, channels: 16, channelMultipliers: [1], residualBlocks: 1,
    attentionResolutions: [], heads: 1, groups: 4, dropout: 0 }`;
const tiny = (system: string, model: string) => `
system: ${system}
data: { name: quarters }
model:
  network: ${network}
${model}
train: { steps: 80, batchSize: 16 }
optimiser: { learningRate: 1.0e-2, betas: [0.9, 0.999], weightDecay: 0, warmupSteps: 10, decay: cosine, emaRate: 0.9 }
`;

function trainerOf(text: string, overrides: readonly string[] = []): Trainer {
  setThreads(1);
  const config = loadConfig(configSchema, { text, overrides });
  const { system } = buildSystem(config, shape);
  return new Trainer(config, machine, system.initialise(new Streams(1)), source);
}

/** Mean losses over the first step and over each `every` after it. */
function losses(trainer: Trainer, steps: number, every: number): number[] {
  const read: number[] = [];
  for (let i = 1; i <= steps; i++) {
    trainer.advance();
    if (i === 1 || i % every === 0) read.push(trainer.read()?.loss ?? Number.NaN);
  }
  return read;
}

describe("learning", () => {
  test("sixteen images by heart: the simple loss falls from 1 to below 0.1", () => {
    const read = losses(trainerOf(tiny("ddgm", "  schedule: { kind: linear, steps: 50 }")), 80, 20);
    // The network's first output is 0, and the noise's square 1: 16 images of 64 pixels, good to 1 / sqrt(512).
    expect(Math.abs((read[0] as number) - 1)).toBeLessThan(5 / Math.sqrt(512));
    expect(read.at(-1)).toBeLessThan(0.1);
  });

  const split = "  schedule: { kind: linear-combine, steps: 50, firstBeta: 0.1 }";

  test("a denoiser and a generator at once, under the bound", () => {
    const trainer = trainerOf(tiny("daed", `${split}\n  variance: learned-range\n  loss: vlb`));
    const read = losses(trainer, 15, 15);
    const before = liveTensors(); // with the chain's tables, which are made once and kept
    read.push(...losses(trainer, 15, 15));
    expect(liveTensors()).toBeLessThanOrEqual(before);
    expect(read.at(-1)).toBeLessThan(0.5 * (read[0] as number));
  });

  const weightsOf = (trainer: Trainer, part: string) =>
    [...trainer.system.namedParameters()]
      .filter(([name]) => name.startsWith(part))
      .flatMap(([, { value }]) => value.toArray());

  test.each([
    ["without-first", "denoiser", "generator"],
    ["only-dae", "generator", "denoiser"],
  ])(
    "%s: the %s, which no batch asks, stays as it is, decay or not; the other learns",
    (sampling, idle, busy) => {
      const trainer = trainerOf(tiny("daed", split), [
        `model.sampling=${sampling}`,
        "optimiser.weightDecay=0.1",
      ]);
      const [still, moving] = [weightsOf(trainer, idle), weightsOf(trainer, busy)];
      losses(trainer, 3, 3);
      expect(weightsOf(trainer, idle)).toEqual(still);
      expect(weightsOf(trainer, busy)).not.toEqual(moving);
    },
  );
});

describe("runs", () => {
  let folder: string;
  beforeAll(() => {
    folder = temporaryFolder();
    writeTiny(folder);
  });
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

  const configOf = (system: string, model: string, ...overrides: string[]) =>
    loadConfig(configSchema, {
      text: `
system: ${system}
data: { name: idx, path: ${JSON.stringify(path.join(folder, "data"))} }
model:
  network: ${network.replace("channels: 16", "channels: 8")}
${model}
train: { steps: 18, batchSize: 8, logEvery: 6, checkpointEvery: 9, sampleEvery: 0 }
optimiser: { learningRate: 1.0e-3, warmupSteps: 2, emaRate: 0.9 }
sample: { count: 2, steps: 4 }
precision: float32
threads: 1
`,
      overrides,
    });

  /** Trains until `stopAt`, or to the end. */
  async function go(name: string, config: ReturnType<typeof configOf>, stopAt = Number.POSITIVE_INFINITY) {
    const out = path.join(folder, name);
    const run = fs.existsSync(out) ? openRun(out) : createRun({ out });
    const stop = new AbortController();
    const progress = ({ step }: { readonly step: number }) => {
      if (step >= stopAt) stop.abort();
    };
    const result = await trainRun({ run, config, report: { log() {}, progress }, signal: stop.signal });
    return { run, result };
  }

  test("one that goes by its losses, interrupted, goes on bit for bit", async () => {
    const config = configOf("ddgm", "  schedule: { kind: linear, steps: 4 }\n  sampling: loss-second-moment");
    const whole = await go("whole", config);
    const cut = await go("cut", config, 14);
    expect(cut.result).toMatchObject({ outcome: "interrupted", step: 14 });
    const file = path.join(cut.run.paths.checkpoints, "00000014", "optimiser.safetensors");
    const counts = loadTensors(file).tensors.get("system.counts");
    // 14 batches of 8 over 4 steps: every step has its ten losses, and their weights are the losses' by now.
    expect(counts?.toArray()).toEqual([10, 10, 10, 10]);
    const resumed = await go("cut", config);
    expect(resumed.result).toMatchObject({ outcome: "finished", step: 18 });
    expect(checkpointSums(resumed.run.dir, 18)).toEqual(checkpointSums(whole.run.dir, 18));
    const uniform = await go("uniform", configOf("ddgm", "  schedule: { kind: linear, steps: 4 }"));
    expect(checkpointSums(uniform.run.dir, 18)).not.toEqual(checkpointSums(whole.run.dir, 18));
  });

  const model = "  schedule: { kind: linear-combine, steps: 4, firstBeta: 0.3 }";

  test("DAED is trained, measured and drawn on the way, and keeps its two networks apart by name", async () => {
    const events = ["train.sampleEvery=9", "train.evaluateEvery=9"];
    const { run, result } = await go("daed", configOf("daed", model, ...events));
    expect(result).toMatchObject({
      outcome: "finished",
      step: 18,
      lossUnit: "squared error",
      bitsPerDim: null,
    });
    const weights = loadTensors(path.join(run.paths.checkpoints, "00000018", "weights.safetensors")).tensors;
    const [parts, inside] = [new Set<string>(), new Map<string, string[]>()];
    for (const name of weights.keys()) {
      const [part = "", ...rest] = name.split(".");
      parts.add(part);
      inside.set(part, [...(inside.get(part) ?? []), rest.join(".")]);
    }
    expect(parts).toEqual(new Set(["denoiser", "generator"]));
    expect(inside.get("denoiser")).toEqual(inside.get("generator"));
    expect(fs.readdirSync(run.paths.samples).sort()).toEqual(["00000009.png", "00000018.png"]);
  });
});
