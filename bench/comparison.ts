/** Work against the same in eager PyTorch: first whether both compute the same, then how fast, in how much memory. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import {
  type FloatDtype,
  peakDeviceMemory,
  resetPeakDeviceMemory,
  saveTensors,
  setThreads,
  synchronise,
} from "varidiff/torch";
import type { BenchDevice, Both, Measurement, Say } from "./benchmark.js";
import { interleave, timed } from "./interleave.js";
import type { Problem } from "./problem.js";
import { peakMemory, processorTime, resetPeakMemory } from "./process-use.js";
import { Python } from "./python.js";

/**
 * Of a problem's tolerance: CUDA's convolutions round float32 factors to 10 bits (TF32) on both sides, each in its own
 * layout.
 */
const leeway = { cpu: 1, cuda: 20 } as const;

/** How Python computes. */
export const sides = {
  /** As published code does: contiguous memory, float32. */
  published: { precision: "float32", layout: "contiguous" },
  "channels-last": { precision: "float32", layout: "channels-last" },
  /** With the usual advice for speed, autocast besides. */
  tuned: { precision: "bfloat16", layout: "channels-last" },
  /** The same, compiled: torch 2.0 and newer. */
  compiled: { precision: "bfloat16", layout: "channels-last", compiled: true },
} as const;

/** Operator by operator, or as a CUDA graph. */
export type Launch = "eager" | "graph";

export interface Setting {
  /** Of the benchmark and the problem, to begin the row's name with. */
  readonly name: string;
  readonly problem: (device: BenchDevice) => Problem;
  /** Of our side. */
  readonly precision: FloatDtype;
  /** Of our side. */
  readonly launch: Launch;
  readonly side: keyof typeof sides;
  readonly device: BenchDevice;
  readonly threads: number;
}

export interface Rounds {
  readonly rounds: number;
  readonly warmUp: number;
  /** Default 1. */
  readonly runsPerRound?: number;
}

/** What is known of a problem: values that belong together, one list behind another. */
type Known = readonly (readonly number[])[];

/** The row's name. */
export function settingName({ name, precision, launch, side, device, threads }: Setting): string {
  const ours = launch === "graph" ? `${precision}-graph` : precision;
  const on = device === "cpu" ? `${threads}-${threads === 1 ? "thread" : "threads"}` : device;
  return `${name}/${ours}/${side}/${on}`;
}

/** Gives Python the same weights, images and draws; its known values in float32. */
async function share(problem: Problem, python: Python, { side, device, threads }: Setting): Promise<Known> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-bench-"));
  const file = path.join(folder, "problem.safetensors");
  try {
    const { pixels, draws, system } = problem;
    saveTensors(file, [...system.values(), ["pixels", pixels], ...Object.entries(draws)]);
    const { work } = problem.otherSide;
    const { precision: _, ...way } = sides[side];
    return await knownOf(python, { path: file, ...way, work, device, threads, precision: "float32" });
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

async function knownOf(python: Python, request: object): Promise<Known> {
  return (await python.ask<{ known: Known }>({ ...request, known: true })).known;
}

/** The largest difference of two lists over the largest value of the second, of all lists the largest. */
function farthest(ours: Known, theirs: Known): number {
  const largest = (values: readonly number[]) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  const distances = theirs.map((other, i) => {
    const own = ours[i] ?? [];
    if (own.length !== other.length) return Number.POSITIVE_INFINITY;
    return largest(own.map((value, k) => value - (other[k] as number))) / largest(other);
  });
  return ours.length === theirs.length ? largest(distances) : Number.POSITIVE_INFINITY;
}

/**
 * Both sides must agree in float32. What each makes of it in the precision that is timed is only reported: the stock
 * GroupNorm of torch 1.13 is off by up to 0.7 in bfloat16, channels-last, from 32x32 positions on.
 *
 * @throws Error where the two sides do not compute the same.
 */
async function agree(problem: Problem, python: Python, setting: Setting, say: Say): Promise<void> {
  const theirs = await share(problem, python, setting); // first: known steps change the weights
  const apart = farthest(await problem.known("float32"), theirs);
  if (!(apart <= leeway[setting.device] * problem.tolerance))
    throw new Error(
      `expected the same from both sides, got known values that are ${apart.toPrecision(3)} apart`,
    );
  const { precision } = setting;
  const theirPrecision = sides[setting.side].precision;
  const other = farthest(
    await problem.known(precision),
    await knownOf(python, { precision: theirPrecision }),
  );
  say(
    `  known values ${apart.toPrecision(2)} apart in float32; ours in ${precision} ${other.toPrecision(2)} from Python's in ${theirPrecision}`,
  );
}

function bothOf([ours = Number.NaN, theirs]: readonly number[]): Both {
  return { ours, theirs: theirs ?? null };
}

/** What Python says of one round. */
interface Round {
  readonly seconds: number;
  /** Largest number of bytes of tensors on the GPU since it was asked to count anew. */
  readonly peak?: number;
}

/** Largest memory of both from now on, in MB: resident, or of tensors on the GPU. The function it returns reads it. */
async function watchMemory(device: BenchDevice, python: Python | null): Promise<() => Promise<number[]>> {
  if (device === "cpu") {
    const pids = python ? [process.pid, python.pid] : [process.pid];
    for (const pid of pids) resetPeakMemory(pid);
    return async () => pids.map(peakMemory);
  }
  resetPeakDeviceMemory(device);
  await python?.ask({ runs: 0, reset: true });
  return async () => {
    const theirs = python ? [(await python.ask<Round>({ runs: 0 })).peak ?? Number.NaN] : [];
    return [peakDeviceMemory(device), ...theirs].map((bytes) => bytes / 2 ** 20);
  };
}

/** Images a second of both sides, peak memory and processor time. @throws Error where they do not compute the same. */
export async function compare(
  setting: Setting,
  { say, runsPerRound = 1, ...rounds }: Rounds & { readonly say: Say },
): Promise<Measurement> {
  const { precision, launch, device, threads } = setting;
  const name = settingName(setting);
  say(name);
  setThreads(threads);
  const problem = setting.problem(device);
  const python = Python.start(problem.otherSide.script, say);
  try {
    if (python) await agree(problem, python, setting, say);
    if (launch === "graph") await problem.capture();
    const readMemory = await watchMemory(device, python);
    const pids = python ? [process.pid, python.pid] : [process.pid];
    const before = pids.map(processorTime);
    const ours = async () => {
      for (let i = 0; i < runsPerRound; i++) await problem.run(precision);
      synchronise(device);
    };
    const found = await interleave(
      () => timed(ours),
      python ? async () => (await python.ask<Round>({ runs: runsPerRound })).seconds : null,
      rounds,
    );
    const runs = (rounds.rounds + rounds.warmUp) * runsPerRound;
    const processor = pids.map((pid, i) => (processorTime(pid) - (before[i] as number)) / runs);
    const memory = await readMemory();
    const images = problem.pixels.dim(0) * runsPerRound;
    const ofRun = (seconds: number | null) =>
      seconds === null ? "unknown" : (seconds / runsPerRound).toPrecision(3);
    say(`  ${ofRun(found.ours)} s a run; Python's ${ofRun(found.theirs)} s`);
    return {
      name,
      ours: images / found.ours,
      theirs: found.theirs === null ? null : images / found.theirs,
      ratio: found.ratio,
      spread: found.spread,
      unit: problem.unit,
      memory: bothOf(memory),
      processor: bothOf(processor),
    };
  } finally {
    python?.stop();
    problem.dispose();
  }
}
