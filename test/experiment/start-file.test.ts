/** The fitted start in its run: when it is fitted, to which images, what is read again, and what is said where it cannot be. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { createStart, type StartConfig } from "../../src/diffusion/cold/start/index.js";
import { HeatBlur } from "../../src/diffusion/index.js";
import type {
  Batch,
  DiffusionSystem,
  FittedStart,
  Objective,
  SampleRequest,
  SampleView,
} from "../../src/diffusion/system.js";
import { UserError } from "../../src/errors.js";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { createRun, type Run } from "../../src/experiment/run-folder.js";
import { ensureStart } from "../../src/experiment/start-file.js";
import { openTrained } from "../../src/experiment/trained.js";
import { trainRun } from "../../src/experiment/training-run.js";
import { constant, Module, Parameter } from "../../src/nn/index.js";
import { loadTensors, Streams, saveTensors, type Tensor, zeros } from "../../src/torch/index.js";
import { close } from "../golden.js";
import { temporaryFolder, trainImages, writeTiny } from "./tiny.js";

const shape = [1, 8, 8] as const;

/** What every config of this file describes: a number that learns the mean of the images, and a start of some kind. */
class Toy extends Module implements DiffusionSystem, FittedStart {
  readonly shape = shape;
  readonly lossUnit = "squared error";
  readonly level = new Parameter([1], constant(0));
  readonly #start;

  constructor(kind: StartConfig["kind"]) {
    super();
    const degradation = new HeatBlur({ levels: 3, firstWidth: 0.5, lastWidth: 6, lastReached: "once" });
    this.#start = createStart({ kind }, { degradation, shape });
  }

  get startFitting() {
    return this.#start.fitting;
  }

  encode(pixels: Tensor): Tensor {
    return pixels.to("float32").div(255);
  }
  decode(z: Tensor): Tensor {
    return z.mul(255).round().clamp(0, 255).to("uint8");
  }
  objective({ pixels }: Batch): Objective {
    const error = this.encode(pixels).mean([1, 2, 3]).sub(this.level.value).square();
    return { loss: error.mean(), perExample: error, t: zeros(error.shape), terms: {} };
  }
  start({ count, streams }: SampleRequest): SampleView {
    return {
      z: this.#start.draw({ count, generator: streams.generator("start"), dtype: "float32", device: "cpu" }),
    };
  }
  step(state: SampleView): SampleView {
    return state;
  }
}

let kind: StartConfig["kind"] = "images";
vi.mock("../../src/experiment/experiment.js", async (original) => ({
  ...(await original<typeof import("../../src/experiment/experiment.js")>()),
  buildModel: () => ({ system: new Toy(kind), network: {} }),
}));

let folder: string;
let file: string;
let whole: Run;
beforeAll(async () => {
  folder = temporaryFolder();
  file = writeTiny(folder);
  whole = createRun({ out: path.join(folder, "whole") });
  await go(whole);
});
beforeEach(() => {
  kind = "images";
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const config = (...overrides: string[]): Config =>
  loadConfig(configSchema, { file, overrides: ["train.steps=4", "train.checkpointEvery=2", ...overrides] });

async function go(run: Run, o: { readonly steps?: number; readonly signal?: AbortSignal } = {}) {
  const lines: string[] = [];
  await trainRun({
    run,
    config: config(`train.steps=${o.steps ?? 4}`),
    report: { log: (line) => lines.push(line), progress() {} },
    ...(o.signal ? { signal: o.signal } : {}),
  });
  return lines;
}

/** A copy of the trained run, without its start where that is asked for. */
function copy(name: string, start: "with start" | "without start"): Run {
  const run = createRun({ out: path.join(folder, name) });
  fs.cpSync(whole.dir, run.dir, { recursive: true });
  if (start === "without start") fs.rmSync(run.paths.start);
  return run;
}

const opened = (run: Run, ...overrides: string[]) => openTrained(run.dir, { weights: "ema", overrides });
const nowhere = "data.path=/nowhere";
const drawn = ({ system }: { readonly system: DiffusionSystem }) =>
  system
    .start({ count: 3, steps: 1, sampler: "ancestral", streams: new Streams(1), pass: {} })
    .z.toArray()
    .join();

async function failure(run: () => unknown): Promise<UserError> {
  try {
    await run();
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).not.toContain("\n");
    return error as UserError;
  }
  throw new Error("expected it to fail");
}

test("it is fitted before the first step, to every training image and no other", async () => {
  const run = createRun({ out: path.join(folder, "early") });
  const stop = new AbortController();
  stop.abort();
  const lines = await go(run, { signal: stop.signal });
  expect(lines).toContain(`fitting the start of samples to ${trainImages} training images of idx`);
  const { tensors, metadata } = loadTensors(run.paths.start);
  expect(metadata).toMatchObject({ data: "idx", images: `${trainImages}` });
  // Heat keeps the mean, whose coefficient is 8 times it for 8x8 pixels; the pixels are those of tiny.ts.
  const means = Array.from({ length: trainImages }, (_, image) => {
    const pixels = Array.from({ length: 64 }, (_, j) => ((image * 64 + j) * 37 + image * 11) % 256);
    return pixels.reduce((sum, pixel) => sum + pixel, 0) / 64 / 255;
  });
  const first = (tensors.get("coefficients") as Tensor).narrow(2, 0, 1).narrow(3, 0, 1);
  expect(first.shape).toEqual([trainImages, 1, 1, 1]);
  close(first.div(8).flatten(), means, 1e-6, "means");
});

test("a run that goes on takes what is there, and fits what is not", async () => {
  const resumed = copy("resumed", "with start");
  expect((await go(resumed, { steps: 6 })).join("\n")).not.toMatch(/fitting/);
  const without = copy("resumed-without", "without start");
  expect((await go(without, { steps: 6 })).join("\n")).toMatch(/fitting the start/);
  expect(fs.readFileSync(without.paths.start)).toEqual(fs.readFileSync(whole.paths.start));
});

test("an opened run has it without its data set", async () => {
  const trained = opened(whole, nowhere);
  const before = fs.statSync(whole.paths.start).mtimeMs;
  const log = vi.fn();
  await ensureStart(trained, { log });
  expect(log).not.toHaveBeenCalled();
  expect(fs.statSync(whole.paths.start).mtimeMs).toBe(before);
  expect(drawn(trained)).toBe(drawn(opened(whole)));
});

test("weights without it are fitted when samples are to be drawn, and keep it", async () => {
  const run = copy("imported", "without start");
  const trained = opened(run);
  expect((await failure(() => drawn(trained))).message).toMatch(/VARIDIFF_DATA/);
  const log = vi.fn();
  await ensureStart(trained, { log });
  await ensureStart(trained, { log });
  expect(log).toHaveBeenCalledTimes(1);
  expect(fs.readFileSync(run.paths.start)).toEqual(fs.readFileSync(whole.paths.start));
  expect(drawn(trained)).toBe(drawn(opened(whole)));
});

test("what another process kept in the meantime is read", async () => {
  const run = copy("meantime", "without start");
  const trained = opened(run, nowhere);
  fs.copyFileSync(whole.paths.start, run.paths.start);
  await ensureStart(trained);
  expect(drawn(trained)).toBe(drawn(opened(whole)));
});

test("without its data set it says which one is missing, where that is looked for, and why it is needed", async () => {
  const run = copy("missing", "without start");
  const { message } = await failure(() => ensureStart(opened(run, nowhere)));
  expect(message).toMatch(/^expected the training images of .*missing, as its samples start from .* fitted/);
  expect(message).toMatch(/data set "idx" was not found; looked in \/nowhere/);
  expect(fs.existsSync(run.paths.start)).toBe(false);
});

test("a damaged file, and one of another model, are one line that says what to delete", async () => {
  const run = copy("damaged", "with start");
  const bytes = fs.readFileSync(run.paths.start);
  fs.writeFileSync(run.paths.start, bytes.subarray(0, bytes.length - 3));
  const cut = (await failure(() => opened(run))).message;
  expect(cut).toMatch(
    /^cannot take the start of samples: .*start\.safetensors is not a whole safetensors file/,
  );
  expect(cut).toMatch(/or delete .*start\.safetensors, and it is fitted anew$/);
  saveTensors(run.paths.start, [["mean", zeros([1])]]);
  expect((await failure(() => opened(run))).message).toMatch(
    /expected size \[2\] of a fitted start, got none/,
  );
  fs.rmSync(run.paths.start);
  await ensureStart(opened(run));
  expect(fs.readFileSync(run.paths.start)).toEqual(bytes);
});

test("a system whose start is known beforehand needs no data and keeps nothing", async () => {
  kind = "black";
  const run = copy("black", "without start");
  await ensureStart(opened(run, nowhere));
  await go(run, { steps: 6 });
  expect(fs.existsSync(run.paths.start)).toBe(false);
  expect(drawn(opened(run))).toBe(Array.from({ length: 3 * 64 }, () => 0).join());
});
