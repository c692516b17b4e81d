/** What chains cannot be and cannot do, from config and command line: one line each. */
import fs from "node:fs";
import path from "node:path";
import type { Command } from "commander";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { analyzeCommand } from "../../src/cli/analyze.js";
import { evaluateCommand } from "../../src/cli/evaluate.js";
import { sampleCommand } from "../../src/cli/sample.js";
import { UserError } from "../../src/errors.js";
import { configSchema } from "../../src/experiment/config.js";
import { buildModel } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { createRun } from "../../src/experiment/run-folder.js";
import { trainRun } from "../../src/experiment/training-run.js";
import { perform, readConfig, writeConfig } from "../cli/chain.js";
import { temporaryFolder, writeTiny } from "../experiment/tiny.js";

/** The error of something that must fail. */
async function failure(run: () => unknown): Promise<Error> {
  try {
    await run();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("expected it to fail");
}

async function expectOneLine(run: () => unknown, said: RegExp): Promise<void> {
  const error = await failure(run);
  expect(error).toBeInstanceOf(UserError);
  expect(error.message).toMatch(said);
  expect(error.message).not.toContain("\n");
}

describe("configs", () => {
  const build = (system: string, ...overrides: string[]) =>
    buildModel(loadConfig(configSchema, { text: `system: ${system}`, overrides }), [1, 28, 28]);

  test.each([
    [
      "ddgm",
      ["model.loss=hybrid"],
      /expected model.variance learned-range or learned with model.loss hybrid, got fixed-large/,
    ],
    ["daed", ["model.loss=hybrid", "model.variance=fixed-small"], /with model.loss hybrid, got fixed-small/],
    [
      "ddgm",
      ["model.schedule={ kind: linear, steps: 15 }"],
      /expected every beta of a chain inside \(0, 1\), got .* at step 11 of 15/,
    ],
    ["ddgm", ["model.schedule={ kind: linear, steps: 1 }"], /"model\.schedule\.steps" must be .*2/],
    [
      "daed",
      ["model.schedule={ kind: linear-combine, firstBeta: 1 }"],
      /"model\.schedule\.firstBeta" must be less than 1/,
    ],
    [
      "daed",
      ["model.split={ firstBeta: 0, composition: clean }"],
      /"model\.split\.firstBeta" must be more than 0/,
    ],
    [
      "daed",
      ["model.split={ firstBeta: 0.1, composition: oficial }"],
      /"model\.split\.composition" must be one of.*official/,
    ],
    ["daed", ["model.sampling=uniform-dae"], /"model\.sampling" must be one of.*dae-uniform/],
    ["ddgm", ["model.parts=denoiser"], /unknown key "model\.parts"/],
    ["daed", ["model.parts=denoser"], /"model\.parts" must be one of.*denoiser/],
    [
      "ddgm",
      ["model.schedule.kind=linear-combined"],
      /"model\.schedule\.kind" must be one of.*linear-combine/,
    ],
    [
      "ddgm",
      ["model.network={ kind: guided-unet, channels: 40 }"],
      /channels that are multiples of 32 \(groups\), got 40/,
    ], // 32 groups
    [
      "daed",
      ["model.laplacian=with"],
      /sides are multiples of 8 and 16 at least for model.laplacian with, got 28 x 28: set data.size/,
    ],
  ] as const)("%s %j", async (system, overrides, said) => {
    await expectOneLine(() => build(system, ...overrides), said);
  });
});

describe("commands", () => {
  let folder: string;
  const runs: Record<string, string> = {};
  const models = {
    ddgm: ["ddgm", "schedule: { kind: linear, steps: 5 }"],
    daed: ["daed", "schedule: { kind: linear-combine, steps: 5, firstBeta: 0.3 }"],
    denoiser: ["daed", "schedule: { kind: linear-combine, steps: 5, firstBeta: 0.3 }, parts: denoiser"],
    generator: ["daed", "schedule: { kind: linear-combine, steps: 5, firstBeta: 0.3 }, parts: generator"],
    official: [
      "daed",
      "schedule: { kind: linear, steps: 30 }, split: { firstBeta: 0.3, composition: official }",
    ],
  } as const;

  beforeAll(async () => {
    folder = temporaryFolder();
    writeTiny(folder);
    for (const [name, [system, model]] of Object.entries(models)) {
      const run = createRun({ out: path.join(folder, `run-${name}`) });
      const config = readConfig(writeConfig(folder, name, system, model), "train.steps=1");
      await trainRun({ run, config, report: { log() {}, progress() {} } });
      runs[name] = run.dir;
    }
  });
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

  test.each([
    ["ddgm", ["sample.steps=6"], /expected at most the 5 steps of the chain, got 6/],
    ["ddgm", ["sample.sampler=ode"], /expected a sampler of a discrete chain, got "ode"/],
    ["official", ["sample.steps=3"], /expected all \d+ steps for the official composition, got 3/],
    ["denoiser", ["sample.steps=2"], /expected a model with a generator for drawing samples/],
    [
      "generator",
      ["train.sampleEvery=0", "train.evaluateEvery=1"],
      /a likelihood bound for train.evaluateEvery 1, got daed: set train.evaluateEvery=0/,
    ],
    [
      "ddgm",
      ["sample.steps=2", "model.condition=class", "model.classes=1"],
      /expected 1 classes in the train images/,
    ],
  ] as const)("a training that would be stopped on its way: %s %j", async (name, overrides, said) => {
    const [system, model] = models[name];
    const config = () =>
      readConfig(writeConfig(folder, name, system, model), "train.sampleEvery=1", ...overrides);
    const run = createRun({ out: path.join(folder, "never") });
    await expectOneLine(() => trainRun({ run, config: config(), report: { log() {}, progress() {} } }), said);
    expect(fs.readdirSync(run.dir)).toEqual([]);
    fs.rmdirSync(run.dir);
  });

  test("a model that is told classes draws them on the way of its training", async () => {
    const overrides = ["train.sampleEvery=1", "sample.steps=2", "sample.count=2", "model.condition=class"];
    const config = readConfig(writeConfig(folder, "classes", ...models.ddgm), "train.steps=1", ...overrides);
    const run = createRun({ out: path.join(folder, "run-classes") });
    await trainRun({ run, config, report: { log() {}, progress() {} } });
    expect(fs.readdirSync(run.paths.samples)).toEqual(["00000001.png"]);
  });

  const commands: Readonly<Record<string, () => Command>> = {
    sample: sampleCommand,
    evaluate: evaluateCommand,
  };
  const run = (command: string, name: string, args: readonly string[]) =>
    commands[command]?.()
      .exitOverride()
      .parseAsync([runs[name] as string, ...args], { from: "user" });

  test.each([
    ["sample", "ddgm", ["--steps", "6"], /expected at most the 5 steps of the chain, got 6: ask for fewer/],
    ["sample", "ddgm", ["--steps", "1"], /expected a chain of two steps or more, got 1/],
    [
      "sample",
      "ddgm",
      ["--sampler", "ode"],
      /expected a sampler of a discrete chain, got "ode"; known: ancestral/,
    ],
    [
      "sample",
      "ddgm",
      ["--sampler", "reverse-sde"],
      /expected a sampler of a discrete chain, got "reverse-sde"/,
    ],
    [
      "sample",
      "denoiser",
      [],
      /expected a model with a generator for drawing samples, got a denoiser alone: compose/,
    ],
    [
      "sample",
      "official",
      ["--steps", "10"],
      /expected all \d+ steps for the official composition, got 10: ask for/,
    ],
    [
      "evaluate",
      "ddgm",
      ["--steps", "0"],
      /from 2 to 5 for the bound of a discrete chain, got 0: ask for so many/,
    ],
    ["evaluate", "ddgm", ["--steps", "6"], /expected at most the 5 steps of the chain, got 6/],
    ["evaluate", "ddgm", ["--metrics", "nll"], /discrete steps/],
    [
      "evaluate",
      "denoiser",
      [],
      /expected a system with a likelihood bound, got daed: it is a denoiser alone/,
    ],
    [
      "evaluate",
      "generator",
      [],
      /expected a system with a likelihood bound, got daed: it is a generator alone/,
    ],
  ] as const)("%s %s %j", async (command, name, args, said) => {
    await expectOneLine(() => run(command, name, args), said);
  });

  test("ddim-clipped is a way through chains alone", async () => {
    const file = path.join(folder, "tiny.yaml");
    const vdm = createRun({ out: path.join(folder, "run-vdm") });
    await trainRun({
      ...{ run: vdm, config: readConfig(file, "train.steps=1") },
      report: { log() {}, progress() {} },
    });
    runs.vdm = vdm.dir;
    const said = /expected a sampler of steps \(.*\), got "ddim-clipped", which is one of discrete chains/;
    await expectOneLine(() => run("sample", "vdm", ["--sampler", "ddim-clipped"]), said);
  });

  test("of all figures of a denoiser alone, those of samples are left out with the reason", async () => {
    const out = path.join(folder, "figures");
    const few = ["--images", "2", "--times", "2"];
    const { stderr } = await perform(
      analyzeCommand(),
      ...[runs.denoiser as string, "--figure", "all", ...few, "--out", out],
    );
    expect(stderr).toMatch(/left out samples: expected a model with a generator for drawing samples/);
    expect(fs.readdirSync(out)).toContain("reconstructions.png");
    expect(fs.readdirSync(out)).not.toContain("samples.png");
  });
});
