/**
 * `npm run bench -- [--json] [--device cuda] [NAME...]`: runs the named benchmarks, or all; `train-step/28x28x1/bfloat16`
 * runs those rows.
 */
import { parseArgs } from "node:util";
import { cudaIndex } from "varidiff/torch";
import { type BenchDevice, type Benchmark, type Both, machine, type Result } from "./benchmark.js";
import { daedTrain } from "./daed-train.js";
import { likelihood } from "./likelihood.js";
import { memory } from "./memory.js";
import { opOverhead } from "./op-overhead.js";
import { recompute } from "./recompute.js";
import { sampling } from "./sampling.js";
import { startUp } from "./start-up.js";
import { trainStep } from "./train-step.js";
import { vcdTrain } from "./vcd-train.js";

/** A new benchmark is a file and a line here. */
const benchmarks: Readonly<Record<string, Benchmark>> = {
  "op-overhead": opOverhead,
  "train-step": trainStep,
  "daed-train": daedTrain,
  "vcd-train": vcdTrain,
  sampling,
  likelihood,
  recompute,
  memory,
  "start-up": startUp,
};

/** Those that can be run on a CUDA device too. */
const onCuda = ["train-step", "daed-train", "vcd-train", "sampling", "likelihood"];

/** Ours, theirs and theirs over ours. */
function cellsOf(both: Both | undefined, digits: number): string[] {
  const { ours, theirs } = both ?? { ours: null, theirs: null };
  const ratio = ours !== null && theirs !== null ? (theirs / ours).toFixed(2) : "-";
  return [ours?.toFixed(digits) ?? "-", theirs?.toFixed(digits) ?? "-", ratio];
}

function table(results: readonly Result[]): string {
  const number = (value: number | null) => (value === null ? "-" : value.toPrecision(4));
  const rows = results.map((r) => [
    r.name,
    number(r.ours),
    number(r.theirs),
    r.unit,
    r.ratio === null ? "-" : r.ratio.toFixed(2),
    r.spread ? r.spread.map((v) => v.toFixed(2)).join(" to ") : "-",
    ...cellsOf(r.memory, 0),
    ...cellsOf(r.processor, 2),
  ]);
  const speed = ["benchmark", "ours", "theirs", "unit", "ratio (above 1: ours is better)", "quartiles"];
  const memory = ["peak MB, ours", "theirs", "ratio"];
  const processor = ["processor s, ours", "theirs", "ratio"];
  const all = [[...speed, ...memory, ...processor], ...rows];
  const widths = (all[0] as string[]).map((_, i) => Math.max(...all.map((row) => (row[i] as string).length)));
  return all
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] as number))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** @throws Error where there is no such device or benchmark, in a line */
function checkRequest(device: string, names: readonly string[]): void {
  if (device !== "cpu" && device !== "cuda")
    throw new Error(`expected --device cpu or cuda, got "${device}"`);
  const known = device === "cuda" ? onCuda : Object.keys(benchmarks);
  const unknown = names.find((name) => !known.includes(name.split("/")[0] as string));
  if (unknown !== undefined)
    throw new Error(
      `expected names of benchmarks on ${device}, got "${unknown}": one of ${known.join(", ")}`,
    );
  if (device === "cuda") cudaIndex(device);
}

/** Rows of all that is asked for. @throws Error where a name is that of no row */
async function measured(names: readonly string[], device: BenchDevice): Promise<Result[]> {
  const results: Result[] = [];
  for (const name of names) {
    const found = await (benchmarks[name.split("/")[0] as string] as Benchmark)(
      (line) => process.stderr.write(`${line}\n`),
      (row) => row === name || row.startsWith(`${name}/`),
      device,
    );
    if (found.length === 0) throw new Error(`expected the beginning of a row's name, got "${name}"`);
    results.push(...found.map((measurement) => ({ ...measurement, machine: machine(device) })));
  }
  return results;
}

try {
  const { values, positionals } = parseArgs({
    options: { json: { type: "boolean", default: false }, device: { type: "string", default: "cpu" } },
    allowPositionals: true,
  });
  const device = values.device as BenchDevice;
  const all = device === "cuda" ? onCuda : Object.keys(benchmarks);
  const names = positionals.length > 0 ? positionals : all;
  checkRequest(device, names);
  const results = await measured(names, device);
  const text = values.json ? JSON.stringify(results, null, 2) : `${machine(device)}\n\n${table(results)}`;
  process.stdout.write(`${text}\n`);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
