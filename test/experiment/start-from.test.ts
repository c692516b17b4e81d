/** Fine-tuning: a run that starts from another's weights, trains a part of them, or some parts more slowly. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openCheckpoint } from "../../src/experiment/checkpoint-files.js";
import { configSchema } from "../../src/experiment/config.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { createRun, openRun, type Run } from "../../src/experiment/run-folder.js";
import { trainRun } from "../../src/experiment/training-run.js";
import { loadTensors } from "../../src/torch/index.js";
import { temporaryFolder, writeTiny } from "./tiny.js";

let folder: string;
let file: string;
let first: Run;
beforeAll(async () => {
  folder = temporaryFolder();
  file = writeTiny(folder);
  first = await train("first", "train.steps=3");
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const said: string[] = [];

async function train(name: string, ...overrides: string[]): Promise<Run> {
  const run = createRun({ out: path.join(folder, name) });
  const config = loadConfig(configSchema, { file, overrides });
  await trainRun({ run, config, report: { log: (line) => said.push(line), progress() {} } });
  return run;
}

/** The values of one of a checkpoint's files, by name. */
function valuesOf(run: Run, step: number, kind: "weights" | "ema"): Map<string, readonly number[]> {
  const { tensors } = loadTensors(openCheckpoint(openRun(run.dir), step).files[kind] as string);
  return new Map([...tensors].map(([name, tensor]) => [name, tensor.toArray()]));
}

test("train.from takes the averaged weights", async () => {
  const run = await train("second", "train.steps=1", `train.from=${first.dir}`, "train.seed=9");
  expect(said.at(-1)).toMatch(/^starting from step 3 of .*first: (\d+) of \1 parameters/);
  expect(valuesOf(run, 0, "weights")).toEqual(valuesOf(first, 3, "ema"));
});

test("train.only leaves everything else as it was, weight decay included", async () => {
  const from = `train.from=${first.dir}`;
  const run = await train("third", "train.steps=2", from, "train.only=[schedule]");
  const [before, after] = [valuesOf(run, 0, "weights"), valuesOf(run, 2, "weights")];
  const changed = [...after].filter(([name, values]) => values.join() !== before.get(name)?.join());
  expect(changed.map(([name]) => name)).toEqual(["schedule.w", "schedule.b"]);
});

test("optimiser.rates slows a part down: with 0 it stands still", async () => {
  const run = await train("fourth", "train.steps=2", "optimiser.rates.denoiser=0");
  const [before, after] = [valuesOf(run, 0, "weights"), valuesOf(run, 2, "weights")];
  const changed = [...after].filter(([name, values]) => values.join() !== before.get(name)?.join());
  expect(changed.map(([name]) => name)).toEqual(["schedule.w", "schedule.b"]);
});

test("what cannot be is refused in one line", async () => {
  const failure = (name: string, ...overrides: string[]) => expect(train(name, ...overrides)).rejects;
  await failure("a", "train.only=[scedule]").toThrow(
    /^expected the beginnings of parameters' names in train\.only, got "scedule"; there are schedule, denoiser$/,
  );
  await failure("b", "optimiser.rates.x=1").toThrow(/in optimiser\.rates, got "x"/);
  await failure("c", `train.from=${first.dir}`, "model.network.channels=96").toThrow(
    /^expected denoiser\.dense0\.weight of shape \[384, 97\] in the run of train\.from, .*, got \[256, 65\]/,
  );
  await failure("d", "train.from=/nowhere").toThrow(/\/nowhere/);
  for (const name of ["a", "b", "c", "d"]) expect(fs.readdirSync(path.join(folder, name))).toEqual([]);
});
