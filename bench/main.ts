/** `npm run bench -- [--json] [NAME...]`: runs the named benchmarks, or all; `train-step/28x28x1/bfloat16` runs those rows. */
import { parseArgs } from "node:util";
import { type Benchmark, type Both, machine, type Result } from "./benchmark.js";
import { guidedStep } from "./guided-step.js";
import { memory } from "./memory.js";
import { opOverhead } from "./op-overhead.js";
import { startUp } from "./start-up.js";
import { trainStep } from "./train-step.js";
import { vcdTrain } from "./vcd-train.js";

/** A new benchmark is a file and a line here. */
const benchmarks: Readonly<Record<string, Benchmark>> = {
  "op-overhead": opOverhead,
  "train-step": trainStep,
  "guided-step": guidedStep,
  "vcd-train": vcdTrain,
  memory,
  "start-up": startUp,
};

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

const { values, positionals } = parseArgs({
  options: { json: { type: "boolean", default: false } },
  allowPositionals: true,
});
const names = positionals.length > 0 ? positionals : Object.keys(benchmarks);
const benchmarkOf = (name: string) => benchmarks[name.split("/")[0] as string];
const unknown = names.find((name) => !benchmarkOf(name));
if (unknown === undefined) {
  const results: Result[] = [];
  for (const name of names) {
    const found = await (benchmarkOf(name) as Benchmark)(
      (line) => process.stderr.write(`${line}\n`),
      (row) => row === name || row.startsWith(`${name}/`),
    );
    results.push(...found.map((measurement) => ({ ...measurement, machine: machine() })));
  }
  const text = values.json ? JSON.stringify(results, null, 2) : `${machine()}\n\n${table(results)}`;
  process.stdout.write(`${text}\n`);
} else {
  process.stderr.write(
    `expected names of benchmarks, got "${unknown}": one of ${Object.keys(benchmarks).join(", ")}\n`,
  );
  process.exitCode = 1;
}
