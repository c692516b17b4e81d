/** `varidiff runs`: the runs of a folder as a table, and a ranking of those whose numbers compare. */
import fs from "node:fs";
import { Command } from "commander";
import { parse } from "yaml";
import { UserError } from "../errors.js";
import { listCheckpoints } from "../experiment/checkpoint-files.js";
import { type EvaluationDocument, evaluationDocuments } from "../experiment/evaluation-documents.js";
import { isLocked, listRuns, type Run } from "../experiment/run-folder.js";
import { readJsonl } from "../io/index.js";
import { didYouMean } from "../nearest.js";
import { emit } from "./output.js";
import { aligned } from "./table.js";

/** A file of `evaluation/`, as far as it is shown here. */
interface Evaluation extends EvaluationDocument {
  readonly metric: string;
  readonly bitsPerDim: { readonly mean: number; readonly standardError: number };
  readonly split: string;
  readonly step: number;
  readonly images: number;
  /** T of the bound; 0 for continuous time. */
  readonly steps?: number;
  readonly passes: number;
  /** Of the Monte-Carlo draws; 0 is the usual one. */
  readonly seed?: number;
  readonly ema: boolean;
  readonly precision: string;
  readonly data?: Comparable;
}

/** What must agree before two numbers compare. */
interface Comparable {
  readonly name?: unknown;
  readonly size?: unknown;
  readonly dequantisation?: unknown;
  readonly augmentation?: unknown;
}

type Status = "running" | "finished" | "interrupted" | "failed" | "unreadable";

interface RunSummary {
  readonly name: string;
  readonly dir: string;
  readonly status: Status;
  readonly system: string;
  readonly data: string;
  readonly step: number;
  readonly steps?: number | undefined;
  readonly parameters?: number | undefined;
  /** The newest training value, bits/dim. */
  readonly trainBitsPerDim?: number | undefined;
  readonly evaluations: readonly Evaluation[];
  /** What its numbers compare with: data, split, dequantisation, augmentation. */
  readonly group?: string | undefined;
  /** Place among the runs of its group, from 1. */
  readonly rank?: number | undefined;
  /** Why it has none, where its results are others than those of its group. */
  readonly apart?: string | undefined;
  readonly problem?: string | undefined;
}

interface RunsOptions {
  readonly json?: boolean;
  readonly rank?: boolean;
  readonly data?: string;
}

const EXAMPLES = `
Examples:
  varidiff runs                               every run in ./runs
  varidiff runs /big/disk/runs --json
  varidiff runs --rank --data fashion-mnist   best first, by bits/dim

Without --rank the result shown is one on test images before others, of the newest step, from the most draws. With
it only results compare that were measured alike (as for "varidiff compare"): those in the setting that most runs
have results in are ranked, of each the one of the newest step; other runs are listed apart, with the reason.
`;

export function runsCommand(): Command {
  return new Command("runs")
    .description("List the runs of a folder, and rank those whose numbers compare.")
    .argument("[ROOT]", 'the folder of the runs (default: "runs")')
    .option("--rank", "sort by bits/dim; refused across data, split, dequantisation or augmentation")
    .option("--data <NAME>", "only runs on this data set")
    .option("--json", "print one JSON document")
    .addHelpText("after", EXAMPLES)
    .action(async (root: string | undefined, options: RunsOptions) => {
      const folder = root ?? "runs";
      if (root !== undefined && !fs.existsSync(root)) throw new UserError(`there is no folder ${root}`);
      if (root !== undefined && !fs.statSync(root).isDirectory())
        throw new UserError(
          `expected a folder of runs, got ${root}, a file: give the folder that holds them`,
        );
      const all = listRuns(folder).map(summarise);
      const wanted = options.data === undefined ? all : onData(all, options.data);
      const runs = options.rank ? await ranked(wanted, options.data) : wanted;
      for (const { name, problem, apart } of runs) {
        if (problem !== undefined) process.stderr.write(`${name}: ${problem}\n`);
        if (apart !== undefined) process.stderr.write(`${name} has no rank: it ${apart}\n`);
      }
      emit(
        { root: folder, runs },
        { json: options.json, text: () => (runs.length > 0 ? table(runs) : none(folder)) },
      );
    });
}

function none(folder: string): string {
  return `no runs in ${folder}; start one: varidiff train CONFIG`;
}

function onData(runs: readonly RunSummary[], name: string): readonly RunSummary[] {
  const found = runs.filter(({ data }) => data === name);
  if (found.length > 0) return found;
  const known = [...new Set(runs.map(({ data }) => data))];
  throw new UserError(`no run on data set "${name}"${didYouMean(name, known)}`);
}

/**
 * Best first; runs whose results do not compare with those of most, and runs without any, come last and have no rank. With
 * `--data` each group is ranked by itself, without it more than one group is refused: their order would mean nothing.
 */
async function ranked(runs: readonly RunSummary[], data: string | undefined): Promise<readonly RunSummary[]> {
  const { ranking } = await import("../experiment/ranking.js");
  const groups = [...new Set(runs.flatMap(({ group }) => group ?? []))].sort();
  if (data === undefined && groups.length > 1) {
    const advice = "rank those on one data set, each kind by itself, with --data NAME";
    throw new UserError(
      `bits/dim do not compare across ${groups.map((name) => `"${name}"`).join(" and ")}; ${advice}`,
    );
  }
  const inGroup = (group: string) => {
    const members = runs.filter((run) => run.group === group);
    const onSplit = members.map(({ evaluations }) =>
      evaluations.filter(({ split }) => split === evaluations[0]?.split),
    );
    return ranking(onSplit)
      .map(({ rank, document, apart }, i) => {
        const run = members[i] as RunSummary;
        const others = run.evaluations.filter((one) => one !== document);
        return { ...run, rank, apart, evaluations: document ? [document, ...others] : others };
      })
      .sort((a, b) => (a.rank ?? Number.POSITIVE_INFINITY) - (b.rank ?? Number.POSITIVE_INFINITY));
  };
  return [...groups.flatMap(inGroup), ...runs.filter(({ group }) => group === undefined)];
}

/** One run as its files tell it; a file that cannot be read makes a row with a problem, never an end of the table. */
function summarise(run: Run): RunSummary {
  try {
    return readSummary(run);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const [problem] = error.message.split("\n");
    const { name, dir } = run;
    return { name, dir, status: "unreadable", system: "?", data: "?", step: 0, evaluations: [], problem };
  }
}

function readSummary(run: Run): RunSummary {
  const config = asMap(parse(fs.readFileSync(run.paths.config, "utf8")));
  const data = asMap(config.data);
  const steps = asNumber(asMap(config.train).steps);
  const metrics = fs.existsSync(run.paths.metrics) ? readJsonl(run.paths.metrics) : [];
  const newest = (key: string) =>
    metrics.map((record) => asNumber(record[key])).findLast((value) => value !== undefined);
  const step = Math.max(newest("step") ?? 0, listCheckpoints(run).at(-1) ?? 0);
  const evaluations = readEvaluations(run);
  const [shown] = evaluations;
  return {
    name: run.name,
    dir: run.dir,
    status: statusOf(run, {
      failed: metrics.at(-1)?.event === "failed",
      // By its steps, or by its minutes, which only the trainer knows to have passed.
      done: (steps !== undefined && step >= steps) || metrics.at(-1)?.event === "finish",
    }),
    system: String(config.system ?? "?"),
    data: String(data.name ?? "?"),
    step,
    steps,
    parameters: newest("parameters"),
    trainBitsPerDim: newest("bitsPerDim"),
    evaluations,
    group: shown && groupOf({ ...data, ...shown.data }, shown.split),
  };
}

function statusOf(run: Run, { failed, done }: { readonly failed: boolean; readonly done: boolean }): Status {
  if (isLocked(run.dir)) return "running";
  if (failed) return "failed";
  return done ? "finished" : "interrupted";
}

/** On test images before others, of the newest step, from the most passes over the most images, of the usual seed: the first one counts. */
function readEvaluations(run: Run): readonly Evaluation[] {
  const splits = ["test", "validation", "train"];
  return (evaluationDocuments(run) as readonly Evaluation[])
    .filter(({ metric, bitsPerDim }) => metric === "bpd" && typeof bitsPerDim?.mean === "number")
    .sort(
      (a, b) =>
        splits.indexOf(a.split) - splits.indexOf(b.split) ||
        b.step - a.step ||
        b.images * b.passes - a.images * a.passes ||
        (a.seed ?? 0) - (b.seed ?? 0),
    );
}

/** What must agree, in words: `cifar10, test, augmentation flip`. */
function groupOf({ name, size, dequantisation, augmentation }: Comparable, split: string): string {
  const said = Object.entries({ size, dequantisation, augmentation })
    .filter(([, value]) => value !== undefined && value !== null && value !== false && value !== "none")
    .map(([key, value]) => `${key} ${typeof value === "string" ? value : JSON.stringify(value)}`);
  return [String(name), split, ...said].join(", ");
}

function asMap(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function asNumber(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function table(runs: readonly RunSummary[]): string {
  const grouped = runs.some(({ rank }) => rank !== undefined);
  const header = [
    "run",
    "system",
    "data",
    "step",
    "params",
    "train",
    "evaluated (bits/dim)",
    "images",
    "T",
    "status",
  ];
  const rows = runs.map((run) => [
    run.name,
    run.system,
    run.data,
    run.steps === undefined ? `${run.step}` : `${run.step}/${run.steps}`,
    run.parameters === undefined ? "-" : formatCount(run.parameters),
    run.trainBitsPerDim?.toFixed(3) ?? "-",
    formatEvaluation(run.evaluations[0]),
    ...settingCells(run.evaluations[0]),
    run.status,
  ]);
  if (!grouped) return aligned([header, ...rows]);
  const places = runs.map(({ rank, group }) =>
    rank === undefined ? ["-", "-"] : [String(rank), group ?? "-"],
  );
  return aligned([
    ["rank", ...header, "compares with"],
    ...rows.map((row, i) => [places[i]?.[0] ?? "-", ...row, places[i]?.[1] ?? "-"]),
  ]);
}

function formatEvaluation(evaluation: Evaluation | undefined): string {
  if (!evaluation) return "-";
  const { bitsPerDim, split, step } = evaluation;
  return `${bitsPerDim.mean.toFixed(4)} ± ${bitsPerDim.standardError?.toFixed(4) ?? "?"} ${split} @${step}`;
}

/** How many images, and T of the bound. */
function settingCells(evaluation: Evaluation | undefined): readonly string[] {
  if (!evaluation) return ["-", "-"];
  return [String(evaluation.images), evaluation.steps ? String(evaluation.steps) : "continuous"];
}

/** `36.1 M`, `845 k`. */
function formatCount(count: number): string {
  if (count >= 1e6) return `${(count / 1e6).toFixed(1)} M`;
  return count >= 1e3 ? `${(count / 1e3).toFixed(0)} k` : String(count);
}
