/** `varidiff compare`: runs over seeds side by side, and Welch's test of every group against a baseline. */
import path from "node:path";
import { Command, Option } from "commander";
import type { Split } from "../data/index.js";
import { UserError } from "../errors.js";
import type { Setting } from "../experiment/comparable.js";
import { type ComparedGroup, type Comparison, compareRuns } from "../experiment/comparison.js";
import type { Estimate } from "../experiment/evaluation.js";
import { showTime } from "../experiment/measure-bits.js";
import { type Alternative, alternatives } from "../experiment/welch.js";
import { makeFolder, writeFileAtomic } from "../io/index.js";
import { wholeNumber } from "./options.js";
import { emit } from "./output.js";
import { aligned } from "./table.js";

interface CompareOptions {
  readonly metric: string;
  readonly baseline?: string;
  readonly alternative: Alternative;
  readonly split?: Split;
  readonly steps?: number;
  readonly images?: number;
  readonly weights?: "ema" | "raw";
  readonly csv?: string;
  readonly plot?: string;
  readonly json?: boolean;
}

const AFTER = `
Runs that differ in train.seed alone are one group, named after their folders without number and seed. Every
run must have been measured alike (varidiff evaluate); those of a kind that has no such results are left out.
Where runs have several results in common, those on test images, of averaged weights and of the most images
count, unless the options say otherwise.

In the table "s.e." is the standard error over seeds, "s.e. of a run" the mean of the runs' own errors of
measurement, "minutes" the wall-clock time of training up to the step that was measured, and "CPU min." that of all threads.

Examples:
  varidiff compare runs/*
  varidiff compare runs/*vdm* runs/*diffenc* --baseline vdm --alternative two-sided
  varidiff compare runs/* --steps 1000 --csv seeds.csv --plot seeds.svg
`;

export function compareCommand(): Command {
  return new Command("compare")
    .description("Compare runs over seeds: means, standard errors, and Welch's t-test against a baseline.")
    .argument("<RUN...>", "run folders")
    .addOption(new Option("--metric <NAME>", "which results").choices(["bpd", "nll"]).default("bpd"))
    .option("--baseline <NAME>", "the group that the others are tested against; default the first")
    .addOption(
      new Option("--alternative <KIND>", "what is tested: that a mean is less than the baseline's, ...")
        .choices(alternatives)
        .default("less"),
    )
    .addOption(
      new Option("--split <SPLIT>", "results on which images").choices(["train", "validation", "test"]),
    )
    .option("--steps <T>", "results of a chain of T steps, 0 for continuous time", wholeNumber(0))
    .option("--images <N>", "results on N images", wholeNumber(1))
    .addOption(new Option("--weights <KIND>", "results of averaged or raw weights").choices(["ema", "raw"]))
    .option("--csv <FILE>", "write every run's numbers, one row a run")
    .option("--plot <FILE>", "draw a dot a run, with means and standard errors: .svg or .png")
    .option("--json", "print one JSON document")
    .addHelpText("after", AFTER)
    .action(compare);
}

async function compare(dirs: readonly string[], options: CompareOptions): Promise<void> {
  const { metric, alternative, baseline, csv, plot } = options;
  if (plot !== undefined && !/\.(svg|png)$/i.test(plot))
    throw new UserError(`expected a file that ends in .svg or .png as --plot, got ${plot}`);
  const comparison = compareRuns(dirs, { metric, alternative, baseline, wanted: wantedOf(options) });
  for (const warning of warnings(comparison)) process.stderr.write(`${warning}\n`);
  if (csv !== undefined) await writeCsv(csv, comparison);
  if (plot !== undefined) await writePlot(plot, comparison);
  emit(comparison, { json: options.json, text: () => describe(comparison) });
}

function wantedOf({ split, steps, images, weights }: CompareOptions): Setting {
  return {
    ...(split === undefined ? {} : { split }),
    ...(steps === undefined ? {} : { steps }),
    ...(images === undefined ? {} : { images }),
    ...(weights === undefined ? {} : { ema: weights === "ema" }),
  };
}

function warnings({ groups, leftOut }: Comparison): readonly string[] {
  const out = leftOut.map(({ run, why }) => `${run} (${why})`).join("; ");
  const differing = groups.flatMap(({ name, runs }) => {
    const steps = [...new Set(runs.map(({ step }) => step))];
    return steps.length > 1
      ? [`${name}: the runs were measured at different steps (${steps.join(", ")})`]
      : [];
  });
  return out === "" ? differing : [`left out: ${out}`, ...differing];
}

/** What all numbers are of. */
function subject({ metric, setting }: Comparison): string {
  const { images, split, data, steps, ema, precision, fingerprint, ...others } = setting;
  const what = metric === "nll" ? "negative log-likelihood" : `variational bound, ${showTime(Number(steps))}`;
  const options = Object.entries(others).map(([fact, value]) => `, ${fact} ${value}`);
  return (
    `bits/dim (${what}) on ${images} ${split} images of ${data}, ` +
    `${ema ? "averaged" : "raw"} weights, ${precision}${options.join("")}`
  );
}

function describe(comparison: Comparison): string {
  const { groups } = comparison;
  return [subject(comparison), "", groupTable(groups), ...termTable(groups), ...testTable(comparison)].join(
    "\n",
  );
}

const number = (value: number, digits = 4): string => (Number.isFinite(value) ? value.toFixed(digits) : "-");

const estimated = ({ mean, standardError }: Estimate): string =>
  Number.isFinite(standardError) ? `${number(mean)} +- ${number(standardError)}` : number(mean);

/** One value where all are alike, else from least to most. */
function range(values: readonly (number | undefined)[], show: (value: number) => string): string {
  const known = values.filter((value) => value !== undefined);
  if (known.length === 0) return "-";
  return [...new Set([Math.min(...known), Math.max(...known)].map(show))].join("..");
}

const afterName = { right: (column: number) => column > 0 };

function groupTable(groups: readonly ComparedGroup[]): string {
  const header = [
    "group",
    "seeds",
    "mean",
    "s.e.",
    "min..max",
    "s.e. of a run",
    "step",
    "minutes",
    "CPU min.",
    "parameters",
  ];
  const rows = groups.map(({ name, runs, bitsPerDim, minimum, maximum, withinRun }) => [
    name,
    String(runs.length),
    number(bitsPerDim.mean),
    number(bitsPerDim.standardError),
    range([minimum, maximum], (value) => number(value)),
    number(withinRun),
    range(
      runs.map(({ step }) => step),
      String,
    ),
    range(
      runs.map(({ seconds }) => seconds),
      (seconds) => number(seconds / 60, 1),
    ),
    range(
      runs.map(({ cpuSeconds }) => cpuSeconds),
      (seconds) => number(seconds / 60, 1),
    ),
    range(
      runs.map(({ parameters }) => parameters),
      (count) => count.toLocaleString("en"),
    ),
  ]);
  return aligned([header, ...rows], afterName);
}

function termTable(groups: readonly ComparedGroup[]): readonly string[] {
  const terms = [...new Set(groups.flatMap((group) => Object.keys(group.terms)))];
  if (terms.length === 0) return [];
  const rows = groups.map((group) => [
    group.name,
    ...terms.map((term) => (group.terms[term] ? estimated(group.terms[term]) : "-")),
  ]);
  return ["", aligned([["terms", ...terms], ...rows], afterName)];
}

const saidOf = {
  less: "one-sided: the mean is less",
  greater: "one-sided: the mean is greater",
  "two-sided": "two-sided: the means differ",
} as const satisfies Record<Alternative, string>;

function testTable({ groups, pairs, baseline, alternative }: Comparison): readonly string[] {
  if (pairs.length === 0)
    return groups.some(({ runs }) => runs.length < 2)
      ? ["", "one seed: an error over seeds, and a test, need two"]
      : [];
  const header = ["difference", "mean", "95 % interval", "t", "d.f.", "p"];
  const rows = pairs.map(({ group, difference, test, problem = "" }) => [
    `${group} - ${baseline}`,
    signed(difference),
    ...(test
      ? [
          test.interval.map(signed).join(" to "),
          number(test.t, 2),
          number(test.degreesOfFreedom, 2),
          test.p < 1e-4 ? test.p.toExponential(1) : number(test.p),
        ]
      : ["-", "-", "-", "-", problem]),
  ]);
  const tests = pairs.filter(({ test }) => test).length;
  const title = `Welch's t-test against ${baseline} (${saidOf[alternative]}${tests > 1 ? "; p as of each test alone" : ""})`;
  const right = (column: number) => column > 0 && column < header.length;
  return ["", title, aligned([header, ...rows], { right })];
}

const signed = (value: number): string => `${value < 0 ? "" : "+"}${number(value)}`;

async function writeCsv(file: string, { groups }: Comparison): Promise<void> {
  const { toCsv } = await import("../plot/index.js");
  const rows = groups.flatMap((group) =>
    group.runs.map(({ name, seed, step, bitsPerDim, terms, seconds, cpuSeconds, parameters }) => ({
      ...{ group: group.name, run: name, seed, step },
      ...{ bitsPerDim: bitsPerDim.mean, standardError: bitsPerDim.standardError, ...terms },
      ...(seconds === undefined ? {} : { seconds }),
      ...(cpuSeconds === undefined ? {} : { cpuSeconds }),
      ...(parameters === undefined ? {} : { parameters }),
    })),
  );
  makeFolder(path.dirname(file));
  writeFileAtomic(file, toCsv(rows));
}

async function writePlot(file: string, comparison: Comparison): Promise<void> {
  const { dotChart, renderPng } = await import("../plot/index.js");
  const { groups } = comparison;
  const chart = dotChart({
    title: "Bits per dimension over seeds",
    subtitle: `a dot a run; bar: mean and standard error over seeds; ${subject(comparison)}`,
    height: 130 + 52 * groups.length,
    x: { label: "bits/dim" },
    rows: groups.map(({ name, runs, bitsPerDim }) => ({
      name,
      values: runs.map((run) => run.bitsPerDim.mean),
      ...{ mean: bitsPerDim.mean, error: bitsPerDim.standardError },
    })),
  });
  makeFolder(path.dirname(file));
  writeFileAtomic(file, /\.svg$/i.test(file) ? chart.svg : await renderPng(chart));
}
