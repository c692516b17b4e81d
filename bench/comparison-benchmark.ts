/** Benchmarks of work that eager PyTorch does too: the rows of one, and how they are run. */
import { spawnSync } from "node:child_process";
import os from "node:os";
import { physicalCores } from "varidiff/torch";
import type { BenchDevice, Benchmark, Measurement } from "./benchmark.js";
import { compare, type Launch, type Rounds, type Setting, settingName, type sides } from "./comparison.js";
import type { Problem } from "./problem.js";

export interface ComparisonOptions extends Rounds {
  /** By the beginnings of their rows' names. */
  readonly problems: Readonly<Record<string, (device: BenchDevice) => Problem>>;
  /** How our side can be launched on a CUDA device. Default both ways. */
  readonly launches?: readonly Launch[];
  /** What our bfloat16 is compared with on a CUDA device. Default `compiled` and `tuned`. */
  readonly halfSidesOnCuda?: readonly (keyof typeof sides)[];
}

/** Our precision and what it is compared with, the most telling first. */
const pairs = [
  { precision: "bfloat16", side: "published" },
  { precision: "float32", side: "published" },
  { precision: "float32", side: "channels-last" },
  { precision: "bfloat16", side: "tuned" },
] as const;

/** Work on a CUDA device takes milliseconds, and compilers their time before the first. */
const roundsOnCuda: Rounds = { rounds: 10, warmUp: 3, runsPerRound: 10 };

/** Ours on a CUDA device, by how it is launched, and what it is compared with. */
function pairsOnCuda({
  launches = ["graph", "eager"],
  halfSidesOnCuda = ["compiled", "tuned"],
}: ComparisonOptions) {
  const half = launches.flatMap((launch) =>
    halfSidesOnCuda.map((side) => ({ precision: "bfloat16", launch, side }) as const),
  );
  return [...half, { precision: "float32", launch: "eager", side: "published" } as const];
}

function settingsOf(options: ComparisonOptions, device: BenchDevice): Setting[] {
  const problems = Object.entries(options.problems);
  if (device === "cuda")
    return problems.flatMap(([name, problem]) =>
      pairsOnCuda(options).map((pair) => ({ name, problem, ...pair, device, threads: 1 })),
    );
  const counts = [...new Set([1, physicalCores(), os.availableParallelism()])];
  return problems.flatMap(([name, problem]) =>
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
export function comparisonBenchmark(options: ComparisonOptions): Benchmark {
  return async (say, wanted, device) => {
    const settings = settingsOf(options, device).filter((one) => wanted(settingName(one)));
    const [only] = settings;
    if (!only || settings.length > 1 || !isApart(only.threads))
      return settings.map((one) => measuredApart(settingName(one), one.threads, device));
    const { rounds, warmUp, runsPerRound } = device === "cuda" ? roundsOnCuda : options;
    return [await compare(only, { rounds, warmUp, runsPerRound, say })];
  };
}
