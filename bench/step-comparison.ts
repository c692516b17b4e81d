/** A training step against the same in eager PyTorch: first whether both compute the same, then how fast, in how much memory. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { type FloatDtype, saveTensors, setThreads } from "varidiff/torch";
import type { Both, Measurement, Say } from "./benchmark.js";
import { interleave, timed } from "./interleave.js";
import { peakMemory, processorTime, resetPeakMemory } from "./process-use.js";
import type { Python } from "./python.js";
import type { StepProblem } from "./step-problem.js";

/** Steps whose losses both sides must agree on before anything is timed. */
const known = 3;
/** Of the losses, relative: float32 sums in another order, and what three updates make of that. */
const tolerance = 1e-4;

/** How Python computes. */
export const sides = {
  /** As published code does: contiguous memory, float32. */
  published: { precision: "float32", layout: "contiguous" },
  "channels-last": { precision: "float32", layout: "channels-last" },
  /** With the usual advice for speed, autocast besides. */
  tuned: { precision: "bfloat16", layout: "channels-last" },
} as const;

export interface StepSetting {
  /** Of the benchmark and the problem, to begin the row's name with. */
  readonly name: string;
  readonly problem: () => StepProblem;
  /** Of our side. */
  readonly precision: FloatDtype;
  readonly side: keyof typeof sides;
  readonly threads: number;
}

export interface Rounds {
  readonly rounds: number;
  readonly warmUp: number;
}

/** The row's name. */
export function stepName({ name, precision, side, threads }: StepSetting): string {
  return `${name}/${precision}/${side}/${threads}-${threads === 1 ? "thread" : "threads"}`;
}

/** Gives Python the same weights, batch and draws; its losses in float32. */
async function share(
  problem: StepProblem,
  python: Python,
  { side, threads }: StepSetting,
): Promise<number[]> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-bench-"));
  const file = path.join(folder, "problem.safetensors");
  try {
    const { pixels, draws, system } = problem;
    saveTensors(file, [...system.values(), ["pixels", pixels], ...Object.entries(draws)]);
    const { layout } = sides[side];
    const request = { path: file, layout, precision: "float32", threads, known };
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
    if (!(Math.abs(loss - other) <= tolerance * Math.abs(other)))
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

/** Images a second of both sides, peak memory and processor time. @throws Error where they do not compute the same. */
export async function compareSteps(
  setting: StepSetting,
  python: Python | null,
  { say, ...rounds }: Rounds & { readonly say: Say },
): Promise<Measurement> {
  const { precision, threads } = setting;
  const name = stepName(setting);
  say(name);
  setThreads(threads);
  const problem = setting.problem();
  if (python) await agree(problem, python, setting, say);
  const pids = python ? [process.pid, python.pid] : [process.pid];
  for (const pid of pids) resetPeakMemory(pid);
  const before = pids.map(processorTime);
  const found = await interleave(
    () => timed(() => problem.step(precision)),
    python ? async () => (await python.ask<{ seconds: number }>({})).seconds : null,
    rounds,
  );
  const steps = rounds.rounds + rounds.warmUp;
  const processor = pids.map((pid, i) => (processorTime(pid) - (before[i] as number)) / steps);
  const memory = pids.map(peakMemory);
  const batch = problem.pixels.dim(0);
  problem.dispose();
  say(`  ${found.ours.toFixed(3)} s a step; Python's ${found.theirs?.toFixed(3) ?? "unknown"} s`);
  return {
    name,
    ours: batch / found.ours,
    theirs: found.theirs === null ? null : batch / found.theirs,
    ratio: found.ratio,
    spread: found.spread,
    unit: "images/s",
    memory: bothOf(memory),
    processor: bothOf(processor),
  };
}
