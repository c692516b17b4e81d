/** A training and its files: what is there when, full disks at every write, and what a resumed run notices. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { UserError } from "../../src/errors.js";
import { listCheckpoints, openCheckpoint } from "../../src/experiment/checkpoint-files.js";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { readMetrics } from "../../src/experiment/journal.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { createRun, isLocked, type Run } from "../../src/experiment/run-folder.js";
import { type TrainingResult, trainRun } from "../../src/experiment/training-run.js";
import { liveTensors } from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";
import { checkpointSums, temporaryFolder, writeTiny } from "./tiny.js";

let folder: string;
let file: string;
let whole: Run;
const steps = ["train.steps=6", "train.checkpointEvery=2", "train.sampleEvery=3", "train.evaluateEvery=3"];
beforeAll(async () => {
  folder = temporaryFolder();
  file = writeTiny(folder);
  whole = createRun({ out: path.join(folder, "whole") });
  await go(whole);
});
afterEach(() => vi.restoreAllMocks());
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function config(...overrides: string[]): Config {
  return loadConfig(configSchema, { file, overrides: [...steps, ...overrides] });
}

function go(run: Run, log: (line: string) => void = () => {}, how = config()): Promise<TrainingResult> {
  return trainRun({ run, config: how, report: { log, progress() {} } });
}

/** The error of something that must fail. */
async function failure(run: () => Promise<unknown>): Promise<unknown> {
  try {
    await run();
  } catch (error) {
    return error;
  }
  throw new Error("expected it to fail");
}

/** What a write goes to, temporaries as `*`: `checkpoints/*`, `metrics.jsonl`, ... */
function kindOf(descriptor: number, run: Run): string {
  const written = fs.readlinkSync(`/proc/self/fd/${descriptor}`);
  return path
    .relative(run.dir, written)
    .replace(/\.tmp-[0-9a-f]+/g, "*")
    .replace(/events\..*/, "*");
}

test("config.yaml, the first record and checkpoint 0 are there before step 1", async () => {
  const run = createRun({ out: path.join(folder, "early") });
  const stop = new AbortController();
  stop.abort();
  const request = { run, config: config(), report: { log() {}, progress() {} } };
  const { outcome, step } = await trainRun({ ...request, signal: stop.signal });
  expect({ outcome, step }).toEqual({ outcome: "interrupted", step: 0 });
  expect(fs.existsSync(run.paths.config)).toBe(true);
  expect(readMetrics(run).map(({ event }) => event)).toEqual(["start", "interrupt"]);
  expect(checkpointSums(run.dir, 0)).toEqual(checkpointSums(whole.dir, 0));
});

test("equal runs give equal checkpoints, whatever they log, draw and measure on the way", async () => {
  const run = createRun({ out: path.join(folder, "quiet") });
  await go(run, () => {}, config("train.sampleEvery=0", "train.evaluateEvery=0", "train.logEvery=1"));
  for (const step of [0, 2, 4, 6])
    expect(checkpointSums(run.dir, step)).toEqual(checkpointSums(whole.dir, step));
});

test("a full disk, at whichever write, is one line; earlier checkpoints stay whole and the run goes on later", async () => {
  const kinds: string[] = [];
  const write = fs.writeSync;
  const counted = createRun({ out: path.join(folder, "counted") });
  const spy = vi.spyOn(fs, "writeSync").mockImplementation(((descriptor: number, ...rest: never[]) => {
    kinds.push(kindOf(descriptor, counted));
    return (write as (...args: unknown[]) => number)(descriptor, ...rest);
  }) as typeof fs.writeSync);
  await go(counted);
  spy.mockRestore();
  const names = [...new Set(kinds)].sort();
  expect(names).toEqual(["*", "checkpoints/*", "checkpoints/*/*", "events/*", "metrics.jsonl", "samples/*"]);

  const moments = new Set<number>();
  for (const name of names) {
    const places = kinds.flatMap((kind, i) => (kind === name ? [i] : []));
    for (const part of [0, 0.6]) moments.add(places[Math.round(part * (places.length - 1))] as number);
  }
  for (const moment of moments) {
    const run = createRun({ out: path.join(folder, `full-${moment}`) });
    let writes = 0;
    vi.spyOn(fs, "writeSync").mockImplementation(((...args: unknown[]) => {
      if (writes++ < moment) return (write as (...args: unknown[]) => number)(...args);
      throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    }) as typeof fs.writeSync);
    const error = await failure(() => go(run));
    vi.restoreAllMocks();
    expect(error, `write ${moment} to ${kinds[moment]}`).toBeInstanceOf(UserError);
    expect((error as Error).message).toMatch(/^cannot write .* \(ENOSPC\): no space is left [^\n]*$/);
    for (const step of listCheckpoints(run)) expect(openCheckpoint(run, step).step).toBe(step);
    expect(isLocked(run.dir)).toBe(false);

    await go(run);
    expect(checkpointSums(run.dir, 6)).toEqual(checkpointSums(whole.dir, 6));
    fs.rmSync(run.dir, { recursive: true });
  }
});

test("records past the checkpoint that a run goes on from are cut", async () => {
  const run = createRun({ out: path.join(folder, "cut") });
  fs.cpSync(whole.dir, run.dir, { recursive: true });
  fs.rmSync(path.join(run.paths.checkpoints, "00000006"), { recursive: true });
  await go(run);
  const told = readMetrics(run).map(({ event, step }) => `${event} ${step}`);
  const trained = ["train 2", "evaluate 3", "train 4"];
  expect(told).toEqual(["start 0", ...trained, "resume 4", "train 6", "evaluate 6", "finish 6"]);
  expect(checkpointSums(run.dir, 6)).toEqual(checkpointSums(whole.dir, 6));
});

test("a damaged checkpoint is named and the one before is used; where all are damaged nothing is overwritten", async () => {
  const run = createRun({ out: path.join(folder, "damaged") });
  fs.cpSync(whole.dir, run.dir, { recursive: true });
  const weights = (step: number) => path.join(run.paths.checkpoints, `0000000${step}`, "weights.safetensors");
  fs.truncateSync(weights(6), 1000);
  const lines: string[] = [];
  await go(run, (line) => lines.push(line));
  expect(lines[0]).toContain(`the checkpoint file ${weights(6)} is damaged`);
  expect(lines[1]).toBe(`resuming ${run.dir} at step 4`);
  expect(checkpointSums(run.dir, 6)).toEqual(checkpointSums(whole.dir, 6));

  for (const step of listCheckpoints(run)) fs.truncateSync(weights(step), 1000);
  const metrics = fs.readFileSync(run.paths.metrics, "utf8");
  await expect(go(run)).rejects.toThrow(
    `expected a whole checkpoint in ${run.paths.checkpoints}, found damaged ones only`,
  );
  expect(fs.readFileSync(run.paths.metrics, "utf8")).toBe(metrics);
});

test("other images under the same name are noticed", async () => {
  const run = createRun({ out: path.join(folder, "moved") });
  fs.cpSync(whole.dir, run.dir, { recursive: true });
  const other = path.join(folder, "other-data");
  fs.cpSync(path.join(folder, "data"), other, { recursive: true });
  const images = path.join(other, "train-images-idx3-ubyte");
  const bytes = fs.readFileSync(images);
  bytes[20] = (bytes[20] as number) ^ 1;
  fs.writeFileSync(images, bytes);
  const lines: string[] = [];
  await go(run, (line) => lines.push(line), config("train.steps=7", `data.path=${other}`));
  expect(lines[0]).toMatch(
    /was trained with data [0-9a-f]{16}, now [0-9a-f]{16}: it goes on, but its bits will differ/,
  );
});

test("a training leaves no tensor behind", async () => {
  collectGarbage(); // so that tensors forgotten by earlier tests are not taken for some of this one
  const before = liveTensors();
  await go(createRun({ out: path.join(folder, "clean") }));
  expect(liveTensors()).toBeLessThanOrEqual(before);
});
