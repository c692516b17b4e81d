/** A training step against the same in eager PyTorch: first whether both compute the same, then how fast, in how much memory. */
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
import { peakMemory, processorTime, resetPeakMemory } from "./process-use.js";
import type { Python } from "./python.js";
import type { StepProblem } from "./step-problem.js";

/** Steps whose losses both sides must agree on before anything is timed. */
const known = 3;
/**
 * Of the losses, relative: float32 sums in another order, and what three updates make of that. CUDA's convolutions round
 * float32 factors to 10 bits (TF32) on both sides, each in its own layout.
 */
const tolerances = { cpu: 1e-4, cuda: 2e-3 } as const;

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

export interface StepSetting {
  /** Of the benchmark and the problem, to begin the row's name with. */
  readonly name: string;
  readonly problem: (device: BenchDevice) => StepProblem;
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
  readonly stepsPerRound?: number;
}

/** The row's name. */
export function stepName({ name, precision, launch, side, device, threads }: StepSetting): string {
  const ours = launch === "graph" ? `${precision}-graph` : precision;
  const on = device === "cpu" ? `${threads}-${threads === 1 ? "thread" : "threads"}` : device;
  return `${name}/${ours}/${side}/${on}`;
}

/** Gives Python the same weights, batch and draws; its losses in float32. */
async function share(
  problem: StepProblem,
  python: Python,
  { side, device, threads }: StepSetting,
): Promise<number[]> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-bench-"));
  const file = path.join(folder, "problem.safetensors");
  try {
    const { pixels, draws, system } = problem;
    saveTensors(file, [...system.values(), ["pixels", pixels], ...Object.entries(draws)]);
    const { precision: _, ...way } = sides[side];
    const request = { path: file, ...way, device, precision: "float32", threads, known };
    return (await python.ask<{ losses: number[] }>(request)).losses;
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/**
 * Both sides must agree in float32. What each makes of it in the precision that is timed is only reported: the stock
 * GroupNorm of torch 1.13 is off by up to 0.7 in bfloat16, channels-last, from 32x32 positions on.
 *
 * @throws Error where the two sides do not compute the same.
 */
async function agree(problem: StepProblem, python: Python, setting: StepSetting, say: Say): Promise<void> {
  const theirs = await share(problem, python, setting);
  theirs.forEach((other, i) => {
    const loss = problem.knownStep("float32");
    if (!(Math.abs(loss - other) <= tolerances[setting.device] * Math.abs(other)))
      throw new Error(`expected the same loss from both sides in step ${i + 1}, got ${loss} and ${other}`);
  });
  const { precision } = setting;
  const theirPrecision = sides[setting.side].precision;
  const [other = Number.NaN] = (
    await python.ask<{ losses: number[] }>({ precision: theirPrecision, known: 1 })
  ).losses;
  say(
    `  loss in ${precision} ${problem.knownStep(precision).toPrecision(6)}; Python's in ${theirPrecision} ${other.toPrecision(6)}`,
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
  await python?.ask({ steps: 0, reset: true });
  return async () => {
    const theirs = python ? [(await python.ask<Round>({ steps: 0 })).peak ?? Number.NaN] : [];
    return [peakDeviceMemory(device), ...theirs].map((bytes) => bytes / 2 ** 20);
  };
}

/** Images a second of both sides, peak memory and processor time. @throws Error where they do not compute the same. */
export async function compareSteps(
  setting: StepSetting,
  python: Python | null,
  { say, stepsPerRound = 1, ...rounds }: Rounds & { readonly say: Say },
): Promise<Measurement> {
  const { precision, launch, device, threads } = setting;
  const name = stepName(setting);
  say(name);
  setThreads(threads);
  const problem = setting.problem(device);
  if (python) await agree(problem, python, setting, say);
  if (launch === "graph") await problem.captureSteps();
  const readMemory = await watchMemory(device, python);
  const pids = python ? [process.pid, python.pid] : [process.pid];
  const before = pids.map(processorTime);
  const ours = () => {
    for (let i = 0; i < stepsPerRound; i++) problem.step(precision);
    synchronise(device);
  };
  const found = await interleave(
    () => timed(ours),
    python ? async () => (await python.ask<Round>({ steps: stepsPerRound })).seconds : null,
    rounds,
  );
  const steps = (rounds.rounds + rounds.warmUp) * stepsPerRound;
  const processor = pids.map((pid, i) => (processorTime(pid) - (before[i] as number)) / steps);
  const memory = await readMemory();
  const images = problem.pixels.dim(0) * stepsPerRound;
  problem.dispose();
  const ofStep = (seconds: number | null) =>
    seconds === null ? "unknown" : (seconds / stepsPerRound).toPrecision(3);
  say(`  ${ofStep(found.ours)} s a step; Python's ${ofStep(found.theirs)} s`);
  return {
    name,
    ours: images / found.ours,
    theirs: found.theirs === null ? null : images / found.theirs,
    ratio: found.ratio,
    spread: found.spread,
    unit: "images/s",
    memory: bothOf(memory),
    processor: bothOf(processor),
  };
}
