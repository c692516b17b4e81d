/** Cold diffusion through the one trainer: runs that are resumed, starts that are kept, and the teacher's weights. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { klWeight, type StepContext, teacherAge } from "../../src/diffusion/index.js";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { createRun, type Run } from "../../src/experiment/run-folder.js";
import { changesOf, openTrained } from "../../src/experiment/trained.js";
import { trainRun } from "../../src/experiment/training-run.js";
import { fromTypedArray, Streams, scope } from "../../src/torch/index.js";
import { checkpointSums, temporaryFolder, writeTiny } from "../experiment/tiny.js";
import { degradationNamed, LatentStub, vcdOf } from "./stub.js";

let folder: string;
let data: string;
beforeAll(() => {
  folder = temporaryFolder();
  writeTiny(folder);
  data = path.join(folder, "data");
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const network =
  "channels: 16, channelMultipliers: [1, 1], attentionLevels: [1], residualBlocks: 1, groups: 4";
const models = {
  vcd: `vcd, model: { network: { ${network}, latentSize: 5 }, perturbation: both, klAnnealing: 3,
    teacher: { warmup: 1, counter: plain }, degradation: { levels: 3 }, inputDropout: 0.2 }`,
  "vcd of jumps": `vcd, model: { network: { ${network} }, degradation: { kind: blur, levels: 4 }, jump: 2,
    trainedJumps: multiples, latentMode: per-step }`,
  "vcd of clean images": `vcd, model: { baseline: vae-x0, network: { ${network} }, degradation: { levels: 3 } }`,
  ddpm: `cold, model: { baseline: ddpm, network: { ${network} } }`,
  ihdm: `cold, model: { baseline: ihdm, network: { ${network} }, start: { kind: images },
    degradation: { levels: 4, firstWidth: 0.5, lastWidth: 4, lastReached: once } }`,
  bansal: `cold, model: { baseline: bansal, network: { ${network} }, degradation: { kind: pixelation, levels: 3 } }`,
} as const;

function config(model: keyof typeof models, ...overrides: string[]): Config {
  return loadConfig(configSchema, {
    text: `{ system: ${models[model]},
      data: { name: idx, path: ${JSON.stringify(data)} },
      train: { steps: 4, batchSize: 8, logEvery: 1, checkpointEvery: 2, sampleEvery: 4 },
      optimiser: { warmupSteps: 1, emaRate: 0.9, emaRamp: ramp }, sample: { count: 2 },
      precision: float32, threads: 1 }`,
    file: "cold.yaml",
    overrides,
  });
}

const go = (run: Run, how: Config) => trainRun({ run, config: how, report: { log() {}, progress() {} } });

describe.each(Object.keys(models) as (keyof typeof models)[])("%s", (model) => {
  const name = model.replaceAll(" ", "-");

  test("a run that stopped half way ends as one that did not", async () => {
    const whole = createRun({ out: path.join(folder, name) });
    const { outcome, loss } = await go(whole, config(model));
    expect(outcome).toBe("finished");
    expect(Number.isFinite(loss)).toBe(true);
    expect(fs.readdirSync(whole.paths.samples)).toEqual(["00000004.png"]);
    const halves = createRun({ out: path.join(folder, `${name}-halves`) });
    await go(halves, config(model, "train.steps=2", "train.sampleEvery=0"));
    await go(halves, config(model));
    expect(checkpointSums(halves.dir, 4)).toEqual(checkpointSums(whole.dir, 4));
  });

  test("what its start is fitted to is kept beside the weights", () => {
    const run = path.join(folder, name);
    const kept = fs.existsSync(path.join(run, "start.safetensors"));
    expect(kept).toBe(model === "ihdm" || model === "bansal" || model === "vcd of jumps");
    const { system } = openTrained(run, { weights: "ema", overrides: [] });
    const request = {
      count: 3,
      steps: system.usualSteps?.("ancestral") as number,
      sampler: "ancestral",
      pass: {},
    };
    expect(scope(() => system.start({ ...request, streams: new Streams(1) }).z.shape)).toEqual([3, 1, 8, 8]);
    system.dispose();
  });
});

describe("the teacher", () => {
  const levels = 3;
  const system = (warmup: number, counter: "plain" | "official", klAnnealing: number) =>
    vcdOf(new LatentStub({ a: -0.1, b: 0.05, c: 0.02, levels, d: 0.3, e: 0, latentSize: 144 }), {
      ...{ degradation: degradationNamed("black_blur", levels), perturbation: "vcd", klAnnealing },
      teacher: { level: "input", resetProbability: 0, warmResetProbability: 1, warmup, counter },
    });
  const pixels = fromTypedArray(
    Uint8Array.from({ length: 2 * 144 }, (_, i) => (i * 7) % 256),
    [2, 1, 12, 12],
  );

  /** Whether step `step` asked for the averaged weights. */
  function askedForAverage(step: number, o: Parameters<typeof system>): boolean {
    let asked = false;
    const context: StepContext = {
      ...{ step, pass: {}, streams: new Streams(1).at(step) },
      averaged(run) {
        asked = true;
        return run();
      },
    };
    scope(() => system(...o).objective({ pixels }, context));
    return asked;
  }

  test.each([
    // counted by training steps: grown once older than the warm-up
    [5, [5, "plain", 0], false],
    [6, [5, "plain", 0], true],
    // officially the counter stands still without annealing
    [1000, [5, "official", 0], false],
    // and begins again once a third of the annealing has passed: 9 / 3 = 3
    [2, [1, "official", 9], true],
    [3, [1, "official", 9], false],
    [5, [1, "official", 9], true],
  ] as const)("at step %i of %j has the averaged weights: %s", (step, o, expected) => {
    expect(askedForAverage(step, [...o])).toBe(expected);
  });

  test("its age, and the weight of the divergence, begin with the annealing", () => {
    expect([0, 1, 2, 3, 4].map((step) => teacherAge(step, { annealing: 9, counter: "official" }))).toEqual([
      0, 1, 2, 0, 1,
    ]);
    // g(0) = cos^2(0.008 / 1.008 pi / 2), g(8) = cos^2(pi / 2)
    const first = 1 - Math.cos(((0.008 / 1.008) * Math.PI) / 2) ** 2;
    for (const step of [0, 1, 2, 3]) expect(klWeight(step, 9)).toBeCloseTo(first, 15);
    for (const step of [11, 12, 500]) expect(klWeight(step, 9)).toBeCloseTo(1, 15);
    expect(klWeight(0, 0)).toBe(1);
  });
});

describe("sampling a run otherwise than its config says", () => {
  test("is told by files and results", async () => {
    const run = path.join(folder, "vcd-of-jumps");
    const opened = openTrained(run, { weights: "ema", overrides: ["model.latentMode=shared", "threads=1"] });
    expect(opened.config.model).toMatchObject({ latentMode: "shared" });
    expect(changesOf(opened)).toEqual({
      facts: { changes: ["model.latentMode=shared"] },
      name: ["model.latentMode=shared"],
    });
    opened.system.dispose();
  });

  test("what was trained stays", () => {
    const run = path.join(folder, "vcd");
    expect(() => openTrained(run, { weights: "ema", overrides: ["model.beta=1"] })).toThrow(
      /"model\.beta=1" would change what .* was trained for/,
    );
  });
});
