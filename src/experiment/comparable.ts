/** Results of runs that compare: what each was measured on, and what all have in common. */
import fs from "node:fs";
import { UserError } from "../errors.js";
import type { Config } from "./config.js";
import type { Estimate } from "./evaluation.js";
import { type EvaluationDocument, evaluationDocuments } from "./evaluation-documents.js";
import { type MetricsRecord, readMetrics } from "./journal.js";
import { openRun, type Run } from "./run-folder.js";
import { runConfig } from "./trained.js";

/** What a number was measured on and how, as far as numbers compare only where it agrees. */
export type Setting = Readonly<Record<string, string | number | boolean>>;

/** A document of `evaluation/`, as far as it is used here. */
export interface Result {
  readonly setting: Setting;
  readonly step: number;
  readonly passes: number;
  /** Of its seed, batch size, schedule and what was changed of the model: how many are not the usual ones. */
  readonly oddities: number;
  readonly bitsPerDim: Estimate;
  readonly terms: Readonly<Record<string, number>>;
}

/** What a run's files say. */
export interface Source {
  readonly run: Run;
  readonly config: Config;
  readonly records: readonly MetricsRecord[];
  readonly results: readonly Result[];
}

/** The run in `dir` with its results of `metric`. @throws UserError for what is no run, and files that cannot be read */
export function readSource(dir: string, metric: string): Source {
  const run = openRun(dir);
  const { metrics } = run.paths;
  const config = runConfig(run);
  const results = evaluationDocuments(run)
    .filter((document) => document.metric === metric)
    .map((document) => readResult(document, config));
  const records = fs.existsSync(metrics) ? readMetrics(run) : [];
  return { run, config, records, results };
}

/** Facts that a result is measured by, in the order in which they are told, and how `evaluate` is asked for them. */
const facts: Readonly<Record<string, (value: unknown) => string>> = {
  split: (split) => ` --split ${split}`,
  images: (images) => ` --images ${images}`,
  steps: (steps) => ` --steps ${steps}`,
  ema: (ema) => (ema ? "" : " --weights raw"),
  precision: (precision) => ` --set precision=${precision}`,
  importance: (importance) => ` --importance ${importance}`,
  dequantisation: (dequantisation) => ` --dequantisation ${dequantisation}`,
  divergence: (divergence) => ` --divergence ${divergence}`,
  latent: (latent) => ` --latent ${latent}`,
  rtol: (rtol) => ` --rtol ${rtol}`,
  atol: (atol) => ` --atol ${atol}`,
};

/** What a document of bits/dim says, of a run of this config. */
export function readResult(document: EvaluationDocument, config?: Config): Result {
  const {
    data,
    bitsPerDim,
    terms = {},
  } = document as {
    readonly data?: { readonly name?: string; readonly fingerprint?: string };
    readonly bitsPerDim: Estimate;
    readonly terms?: Readonly<Record<string, Estimate>>;
  };
  const known = Object.keys(facts).flatMap((fact) =>
    document[fact] === undefined ? [] : [[fact, document[fact]]],
  );
  return {
    setting: { ...Object.fromEntries(known), data: data?.name ?? "?", fingerprint: data?.fingerprint ?? "?" },
    step: Number(document.step),
    passes: Number(document.passes ?? 1),
    oddities: odditiesOf(document, config?.evaluate.batchSize),
    bitsPerDim,
    terms: Object.fromEntries(Object.entries(terms).map(([name, { mean }]) => [name, mean])),
  };
}

function odditiesOf(
  { seed = 0, batchSize, schedule, changes }: EvaluationDocument,
  usual = batchSize,
): number {
  const odd = [seed !== 0, (batchSize ?? usual) !== usual, schedule !== undefined, changes !== undefined];
  return odd.filter(Boolean).length;
}

/** Whether a result has the precision that its run asks for; of `auto`, the one of processors that have it. */
function hasOwnPrecision({ precision: own }: Config, { precision }: Setting): boolean {
  return precision === (own === "auto" ? "bfloat16" : own);
}

/** Without the name of the data: the same images are the same under any. */
const keyOf = ({ data: _, ...facts }: Setting): string => JSON.stringify(Object.entries(facts).sort());

/** Whether a result is of this setting. */
export function isIn(setting: Setting): (result: Result) => boolean {
  const key = keyOf(setting);
  return (result) => keyOf(result.setting) === key;
}

/** That of a run which counts in this setting: of the newest step, measured as usual, from the most passes. */
export function countingResult<R extends Result>(results: readonly R[], setting: Setting): R | undefined {
  return results
    .filter(isIn(setting))
    .sort((a, b) => b.step - a.step || a.oddities - b.oddities || b.passes - a.passes)[0];
}

/**
 * The setting that most runs have results in, then by split, averaged weights, number of images and the precision of most
 * runs, with the runs that lack it; undefined where there are no results.
 */
export function settingOfMost<S extends Pick<Source, "results"> & Partial<Pick<Source, "config">>>(
  sources: readonly S[],
  wanted: Setting = {},
): { readonly setting: Setting; readonly without: readonly S[] } | undefined {
  const fits = ({ setting }: Result) =>
    Object.entries(wanted).every(([fact, value]) => setting[fact] === value);
  const settings = new Map(
    sources.flatMap(({ results }) => results.filter(fits).map(({ setting }) => [keyOf(setting), setting])),
  );
  const lacking = (key: string) =>
    sources.filter(({ results }) => !results.some(({ setting }) => keyOf(setting) === key));
  const splits = ["test", "validation", "train"];
  const [best] = [...settings]
    .map(([key, setting]) => ({
      setting,
      without: lacking(key),
      own: sources.filter(({ config }) => config && hasOwnPrecision(config, setting)).length,
    }))
    .sort(
      (a, b) =>
        a.without.length - b.without.length ||
        splits.indexOf(String(a.setting.split)) - splits.indexOf(String(b.setting.split)) ||
        Number(b.setting.ema) - Number(a.setting.ema) ||
        Number(b.setting.images) - Number(a.setting.images) ||
        b.own - a.own ||
        Number(a.setting.steps) - Number(b.setting.steps),
    );
  return best;
}

/** @throws UserError where not all runs have results in one setting, with the commands that make them */
export function commonSetting(
  sources: readonly Source[],
  { metric, wanted = {} }: { readonly metric: string; readonly wanted?: Setting | undefined },
): Setting {
  const best = settingOfMost(sources, wanted);
  if (!best) throw missing(sources, { metric, setting: wanted, why: "there are none" });
  const [other] = best.without;
  if (!other) return best.setting;
  const rival = other.results.find(({ setting }) => setting.split === best.setting.split)?.setting;
  if (rival && rival.fingerprint !== best.setting.fingerprint)
    throw new UserError(
      `expected results on the same images, got ${describeData(best.setting)} and, in ${other.run.dir}, ` +
        `${describeData(rival)}: compare runs on one data set`,
    );
  const why = whyApart(other.results, best.setting) ?? "has none";
  throw missing(best.without, { metric, setting: best.setting, why: `${other.run.dir} ${why}` });
}

/** How the nearest of a run's results differs, `was measured with images 100 (others: 1000)`; undefined without any. */
export function whyApart(results: readonly Result[], others: Setting): string | undefined {
  const differences = results.map(({ setting }) => differenceOf(setting, others));
  const [nearest] = differences.sort((a, b) => a.length - b.length);
  if (!nearest) return undefined;
  return nearest.length > 0 ? `was measured with ${nearest.join(", ")}` : "was measured on other images";
}

/** As in `images 100 (others: 1000)`. */
function differenceOf(setting: Setting, others: Setting): readonly string[] {
  return Object.keys(facts)
    .filter((fact) => setting[fact] !== others[fact])
    .map((fact) => `${fact} ${setting[fact] ?? "unsaid"} (others: ${others[fact] ?? "unsaid"})`);
}

function describeData({ data, split, fingerprint }: Setting): string {
  return `${data} ${split} (fingerprint ${fingerprint})`;
}

function missing(
  sources: readonly Source[],
  { metric, setting, why }: { readonly metric: string; readonly setting: Setting; readonly why: string },
): UserError {
  const flags = Object.entries(facts).map(([fact, flag]) =>
    setting[fact] === undefined ? "" : flag(setting[fact]),
  );
  const metrics = metric === "bpd" ? "" : ` --metrics ${metric}`;
  const commands = sources.map(
    ({ run }) => `varidiff evaluate ${quoted(run.dir)}${metrics}${flags.join("")}`,
  );
  return new UserError(
    `expected results of ${metric} that compare in every run, but ${why}; run: ${commands.join("; ")}`,
  );
}

/** As a shell takes it for one word. */
export function quoted(word: string): string {
  return /^[\w./@%+=:,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
