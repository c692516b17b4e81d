/** Benchmarks of training steps: the rows of one, and how they are run. */
import { spawnSync } from "node:child_process";
import os from "node:os";
import { physicalCores } from "varidiff/torch";
import type { BenchDevice, Benchmark, Measurement } from "./benchmark.js";
import { Python } from "./python.js";
import { compareSteps, type Launch, type Rounds, type StepSetting, stepName } from "./step-comparison.js";
import type { StepProblem } from "./step-problem.js";

export interface StepBenchmarkOptions extends Rounds {
  /** Of bench/python. */
  readonly script: string;
  /** By the beginnings of their rows' names. */
  readonly problems: Readonly<Record<string, (device: BenchDevice) => StepProblem>>;
  /** How our side can be launched on a CUDA device. Default both ways. */
  readonly launches?: readonly Launch[];
}

/** Our precision and what it is compared with, the most telling first. */
const pairs = [
  { precision: "bfloat16", side: "published" },
  { precision: "float32", side: "published" },
  { precision: "float32", side: "channels-last" },
  { precision: "bfloat16", side: "tuned" },
] as const;

/** Steps on a CUDA device take milliseconds, and compilers their time before the first. */
const roundsOnCuda: Rounds = { rounds: 10, warmUp: 3, stepsPerRound: 10 };

/** Ours on a CUDA device, by how it is launched, and what it is compared with. */
function pairsOnCuda(launches: readonly Launch[]) {
  const half = launches.flatMap((launch) =>
    (["compiled", "tuned"] as const).map((side) => ({ precision: "bfloat16", launch, side }) as const),
  );
  return [...half, { precision: "float32", launch: "eager", side: "published" } as const];
}

function settingsOf(
  { problems, launches = ["graph", "eager"] }: StepBenchmarkOptions,
  device: BenchDevice,
): StepSetting[] {
  if (device === "cuda")
    return Object.entries(problems).flatMap(([name, problem]) =>
      pairsOnCuda(launches).map((pair) => ({ name, problem, ...pair, device, threads: 1 })),
    );
  const counts = [...new Set([1, physicalCores(), os.availableParallelism()])];
  return Object.entries(problems).flatMap(([name, problem]) =>
    pairs.flatMap((pair) =>
      counts.map((threads) => ({ name, problem, ...pair, launch: "eager" as const, device, threads })),
    ),
  );
}

/** What OpenBLAS, which takes no orders from libtorch, reads as it is loaded. */
const blasThreads = "OPENBLAS_NUM_THREADS";

/** One row, run by this program in a process of its own. @throws Error where that failed */
export function measuredApart(name: string, threads: number, device: BenchDevice = "cpu"): Measurement {
  const { status, stdout } = spawnSync(
    process.execPath,
    [process.argv[1] as string, "--json", "--device", device, name],
    {
      stdio: ["ignore", "pipe", "inherit"],
      encoding: "utf8",
      env: { ...process.env, [blasThreads]: `${threads}` },
    },
  );
  if (status !== 0) throw new Error(`expected a result of ${name}, its process ended with ${status}`);
  const [result] = JSON.parse(stdout) as Measurement[];
  if (!result) throw new Error(`expected a result of ${name}, got none`);
  return result;
}

/** Whether this process was started as one that measures a row. */
export function isApart(threads: number): boolean {
  return process.env[blasThreads] === `${threads}`;
}

/** Rows in processes of their own: memory that one has used would count for the next. */
export function stepBenchmark({ script, problems, launches, ...rounds }: StepBenchmarkOptions): Benchmark {
  return async (say, wanted, device) => {
    const settings = settingsOf({ script, problems, launches, ...rounds }, device).filter((one) =>
      wanted(stepName(one)),
    );
    const [only] = settings;
    if (!only || settings.length > 1 || !isApart(only.threads))
      return settings.map((one) => measuredApart(stepName(one), one.threads, one.device));
    const python = Python.start(script, say);
    try {
      return [await compareSteps(only, python, { ...(device === "cuda" ? roundsOnCuda : rounds), say })];
    } finally {
      python?.stop();
    }
  };
}
