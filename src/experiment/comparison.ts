/** Runs over seeds compared: what they were measured on must agree, groups are tested against a baseline. */
import { UserError } from "../errors.js";
import { didYouMean } from "../nearest.js";
import { commonSetting, countingResult, readSource, type Setting, type Source } from "./comparable.js";
import { type Estimate, estimate } from "./evaluation.js";
import { whyNoResults } from "./no-results.js";
import { grouped } from "./seed-groups.js";
import { type Alternative, type Welch, welchTest } from "./welch.js";

export interface ComparisonRequest {
  /** `bpd`, `nll`: whose results are compared, by `bitsPerDim`. */
  readonly metric: string;
  /** Facts of the results to compare, such as `split`, where runs have several in common. */
  readonly wanted?: Setting;
  readonly alternative: Alternative;
  /** A group's name; default the first. */
  readonly baseline?: string | undefined;
}

/** A run with the result that is compared. */
export interface ComparedRun {
  readonly name: string;
  readonly dir: string;
  readonly seed: number;
  /** Steps of training that the measured weights had. */
  readonly step: number;
  /** Bits/dim; the standard error is of the measurement. */
  readonly bitsPerDim: Estimate;
  /** Means of the terms, bits/dim. */
  readonly terms: Readonly<Record<string, number>>;
  readonly parameters: number | undefined;
  /** Wall-clock time that the training had taken by that step, seconds. */
  readonly seconds: number | undefined;
  /** Processor time of all threads together, seconds. */
  readonly cpuSeconds: number | undefined;
}

/** Runs that differ in their seed alone. */
export interface ComparedGroup {
  readonly name: string;
  readonly runs: readonly ComparedRun[];
  /** Over seeds: the standard error is NaN for a single one. */
  readonly bitsPerDim: Estimate;
  readonly minimum: number;
  readonly maximum: number;
  /** The mean of the runs' own standard errors, of measuring each. */
  readonly withinRun: number;
  readonly terms: Readonly<Record<string, Estimate>>;
}

/** A group against the baseline. */
export interface ComparedPair {
  readonly group: string;
  readonly difference: number;
  readonly test: Welch | undefined;
  /** Why there is no test. */
  readonly problem?: string;
}

/** A run that has nothing to compare, as its kind has none. */
export interface LeftOutRun {
  readonly run: string;
  readonly why: string;
}

export interface Comparison {
  readonly metric: string;
  /** What all results were measured on. */
  readonly setting: Setting;
  readonly groups: readonly ComparedGroup[];
  readonly baseline: string;
  readonly alternative: Alternative;
  readonly pairs: readonly ComparedPair[];
  readonly leftOut: readonly LeftOutRun[];
}

/**
 * Groups the runs in `dirs` and tests each group against the baseline. Of every run that result counts which is
 * measured as those of the others are, of the newest step, with the usual seed, batch size and schedule, from the most
 * passes. Runs of a kind that has no such results are left out.
 *
 * @throws UserError where results are missing (with the commands that make them) or were measured on different images,
 *   where two runs of a group have the same seed, and for a baseline that is no group
 */
export function compareRuns(dirs: readonly string[], request: ComparisonRequest): Comparison {
  const { sources, leftOut } = measurable(
    dirs.map((dir) => readSource(dir, request.metric)),
    request.metric,
  );
  const setting = commonSetting(sources, request);
  const groups = grouped(sources).map(([name, members]) =>
    summarise(
      name,
      members.map((source) => measured(source, setting)),
    ),
  );
  const names = groups.map(({ name }) => name);
  const name = request.baseline ?? (names[0] as string);
  const baseline = groups.find((group) => group.name === name);
  if (!baseline)
    throw new UserError(`expected a group as --baseline, got "${name}"${didYouMean(name, names)}`);
  const { metric, alternative } = request;
  const pairs = groups
    .filter((group) => group !== baseline)
    .map((group) => against(baseline, group, alternative));
  return { metric, setting, groups, baseline: name, alternative, pairs, leftOut };
}

/** @throws UserError where no run is left */
function measurable(
  all: readonly Source[],
  metric: string,
): { readonly sources: readonly Source[]; readonly leftOut: readonly LeftOutRun[] } {
  const reasons = all.map((source) => (source.results.length > 0 ? undefined : whyNoResults(source, metric)));
  const leftOut = all.flatMap(({ run }, i) => {
    const why = reasons[i];
    return why === undefined ? [] : [{ run: run.dir, why }];
  });
  const [first] = leftOut;
  if (first && leftOut.length === all.length)
    throw new UserError(
      `expected runs that can have results of ${metric}, got ${first.run} (${first.why}): compare runs of a system that has them`,
    );
  return { sources: all.filter((_, i) => reasons[i] === undefined), leftOut };
}

function against(baseline: ComparedGroup, group: ComparedGroup, alternative: Alternative): ComparedPair {
  const [values, others] = [group, baseline].map(({ runs }) => runs.map(({ bitsPerDim }) => bitsPerDim.mean));
  const test = welchTest(values as number[], others as number[], { alternative });
  const single = [group, baseline].find(({ runs }) => runs.length < 2);
  const difference = group.bitsPerDim.mean - baseline.bitsPerDim.mean;
  if (test) return { group: group.name, difference, test };
  const problem = single
    ? `a test needs two seeds, ${single.name} has one`
    : "no spread over seeds to test by";
  return { group: group.name, difference, test, problem };
}

function summarise(name: string, runs: readonly ComparedRun[]): ComparedGroup {
  const seeds = runs.map(({ seed }) => seed);
  const twice = runs.findIndex(({ seed }, i) => seeds.indexOf(seed) !== i);
  const [again, first] = [runs[twice], runs.find(({ seed }) => seed === runs[twice]?.seed)];
  if (again && first)
    throw new UserError(
      `expected runs of different seeds, got ${first.dir} and ${again.dir}, both of seed ${again.seed}: leave one out`,
    );
  const means = runs.map(({ bitsPerDim }) => bitsPerDim.mean);
  const terms = [...new Set(runs.flatMap((run) => Object.keys(run.terms)))];
  const within = runs.map(({ bitsPerDim }) => bitsPerDim.standardError);
  return {
    ...{ name, runs, bitsPerDim: estimate(means) },
    minimum: Math.min(...means),
    maximum: Math.max(...means),
    withinRun: estimate(within).mean,
    terms: Object.fromEntries(
      terms.map((term) => [term, estimate(runs.map((run) => run.terms[term] ?? Number.NaN))]),
    ),
  };
}

/** The run's result in this setting, which it has. */
function measured({ run, config, records, results }: Source, setting: Setting): ComparedRun {
  const result = countingResult(results, setting);
  if (!result) throw new Error(`${run.dir} has no result in the common setting`);
  const { step, bitsPerDim, terms } = result;
  const newest = (key: string, upTo = Number.POSITIVE_INFINITY) =>
    records.findLast((record) => record.step <= upTo && typeof record[key] === "number")?.[key] as
      | number
      | undefined;
  return {
    ...{ name: run.name, dir: run.dir, seed: config.train.seed, step, bitsPerDim, terms },
    parameters: newest("parameters"),
    seconds: newest("seconds", step),
    cpuSeconds: newest("cpuSeconds", step),
  };
}
