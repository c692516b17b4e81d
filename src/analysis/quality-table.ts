/** Table `quality`: what samples of runs are worth, a row a result (DAED, tables 1, 3, 4 and 5). */
import { buildSystem } from "../experiment/experiment.js";
import {
  type QualityResult,
  qualityCommand,
  readQuality,
  type ScoreName,
  type StoredScore,
} from "../experiment/quality-results.js";
import { openRun } from "../experiment/run-folder.js";
import { runConfig } from "../experiment/trained.js";
import { type DotRow, dotChart, panels } from "../plot/index.js";
import { anyChain, chainName } from "./chains.js";
import type { Drawing, Row } from "./figure.js";
import { type PublishedSet, publishedQuality } from "./published-daed.js";

/** What a row is of: a run, real images in the place of samples, or the paper's model. */
interface QualityRow {
  readonly source: string;
  readonly model: string;
  readonly loss: string;
  readonly T: number | undefined;
  readonly scores: Readonly<Partial<Record<ScoreName, Pick<StoredScore, "value" | "standardError">>>>;
  /** Undefined for the paper's. */
  readonly result: QualityResult | undefined;
}

export interface QualityTable {
  /** The header and the rows, as texts. */
  readonly cells: readonly (readonly string[])[];
  /** Sentences to read it by. */
  readonly notes: readonly string[];
  /** Runs without results, each with the command that measures it. */
  readonly lacking: readonly { readonly run: string; readonly command: string }[];
  /** Undefined where no run has results. */
  readonly drawing: Drawing | undefined;
}

/** A run with its results; its weights are not needed. @throws UserError for what is no run */
function openJudged(dir: string) {
  const run = openRun(dir);
  return { dir, name: run.name, config: runConfig(run), results: readQuality(run) };
}

type JudgedRun = ReturnType<typeof openJudged>;

function rowsOf({ name, config, results }: JudgedRun): readonly QualityRow[] {
  return results.map((result) => {
    const { system } = buildSystem(config, result.reference.shape);
    const model = anyChain.fits(system)
      ? { model: chainName(system), loss: system.loss, T: system.steps }
      : { model: config.system, loss: "", T: undefined };
    return { source: name, ...model, scores: result.scores, result };
  });
}

/** What as many real images have, once for every setting in which it was measured. */
function floorsOf(rows: readonly QualityRow[]): readonly QualityRow[] {
  const settings = new Map<string, QualityRow>();
  for (const { result } of rows) {
    if (!result) continue;
    const { features, reference, floor, scores } = result;
    const key = JSON.stringify([features.fingerprint, reference, floor]);
    const floors = Object.entries(scores).flatMap(([name, { floor: value }]) =>
      value === null ? [] : [[name, { value, standardError: null }] as const],
    );
    if (floors.length === 0) continue;
    const before = settings.get(key)?.scores;
    settings.set(key, {
      ...{ source: `real ${floor?.split} images`, model: "", loss: "", T: undefined, result },
      scores: { ...before, ...Object.fromEntries(floors) },
    });
  }
  return [...settings.values()];
}

/** Percentages as parts of 1, like ours. */
function publishedRows(set: PublishedSet): readonly QualityRow[] {
  const score = (value: number | undefined) =>
    value === undefined ? undefined : { value, standardError: null };
  return publishedQuality(set).map(
    ({ table, model, loss, T, inceptionScore, fid, sfid, precision, recall }) => ({
      ...{ source: `paper, table ${table}`, model, loss, T, result: undefined },
      scores: Object.fromEntries(
        Object.entries({
          inceptionScore: score(inceptionScore),
          fid: score(fid),
          sfid: score(sfid),
          precision: score(precision / 100),
          recall: score(recall / 100),
        }).filter(([, value]) => value !== undefined),
      ),
    }),
  );
}

/** Columns of scores, as they are headed where all are of the network that they were defined with. */
const columns = {
  inceptionScore: { head: "IS", digits: 2 },
  fid: { head: "FID", digits: 2 },
  sfid: { head: "sFID", digits: 2 },
  precision: { head: "precision", digits: 3 },
  recall: { head: "recall", digits: 3 },
} as const satisfies Record<ScoreName, { readonly head: string; readonly digits: number }>;
const columnNames = Object.keys(columns) as readonly ScoreName[];

function cellsOf(rows: readonly QualityRow[]): readonly (readonly string[])[] {
  const ofDefinition = rows.every(({ result }) => !result || result.features.standing === "inception");
  const heads = columnNames.map((name) => {
    const { head } = columns[name];
    return ofDefinition || /^[a-z]{3}/.test(head) ? head : `${head}-like`;
  });
  const header = [
    ...["run", "model", "loss", "T", ...heads],
    ...["features", "samples", "sampler", "steps", "trained"],
  ];
  const body = rows.map(({ source, model, loss, T, scores, result }) => [
    ...[source, model, loss, T === undefined ? "" : String(T)],
    ...columnNames.map((name) => shown(scores[name], result && columns[name].digits)),
    result?.features.name ?? "Inception",
    String((model === "" ? result?.floor?.images : result?.samples) ?? ""),
    ...(result && model !== ""
      ? [result.sampler, String(result.steps), `${result.step}${result.ema ? "" : ", raw weights"}`]
      : ["", "", ""]),
  ]);
  return [header, ...body];
}

/** With so many digits after the point, or as it was printed. */
function shown(
  score: Pick<StoredScore, "value" | "standardError"> | undefined,
  digits: number | undefined,
): string {
  if (!score) return "";
  const { value, standardError } = score;
  if (digits === undefined) return String(Number(value.toFixed(3)));
  const number = value.toFixed(digits);
  return standardError === null ? number : `${number} ± ${standardError.toFixed(digits)}`;
}

/** As columns of numbers. */
function csvRow({ source, model, loss, T, scores, result }: QualityRow): Row {
  const numbers = columnNames.flatMap((name): (readonly [string, number])[] => {
    const score = scores[name];
    if (!score) return [];
    const error = score.standardError;
    return [[name, score.value], ...(error === null ? [] : [[`${name}Error`, error] as const])];
  });
  const sampled = result && model !== "";
  return {
    ...{ run: source, model, loss, T: T ?? "" },
    ...Object.fromEntries(numbers),
    features: result?.features.name ?? "Inception",
    featuresFingerprint: result?.features.fingerprint ?? "",
    samples: (model === "" ? result?.floor?.images : result?.samples) ?? "",
    ...(sampled ? { sampler: result.sampler, samplingSteps: result.steps, seed: result.seed } : {}),
    ...(sampled ? { step: result.step, weights: result.ema ? "ema" : "raw" } : {}),
    ...(result
      ? { reference: `${result.reference.images} ${result.reference.split} of ${result.reference.data}` }
      : {}),
  };
}

/** A panel for every number and network, a line for every result; the paper's, of another network, are left out. */
function chartOf(rows: readonly QualityRow[]) {
  const measured = rows.filter(({ result }) => result);
  const titles = [
    ...new Set(
      columnNames.flatMap((name) => measured.flatMap(({ result }) => result?.scores[name]?.label ?? [])),
    ),
  ];
  return panels(
    titles.map((label) => {
      const own = measured.flatMap((row): DotRow[] => {
        const name = columnNames.find((each) => row.result?.scores[each]?.label === label);
        const score = name && row.scores[name];
        if (!score) return [];
        const title = row.model === "" ? row.source : `${row.model}, ${row.loss}`;
        const steps = row.model === "" ? "" : ` (${row.source})`;
        const { value: mean, standardError: error } = score;
        return [{ name: `${title}${steps}`, values: [], mean, error: error ?? Number.NaN }];
      });
      return dotChart({
        title: label,
        subtitle: "bar: ± 1 standard error over samples",
        height: 130 + 34 * own.length,
        x: { label },
        rows: own,
      });
    }),
    { columns: 2 },
  );
}

/** The results of the runs in `dirs`, with the paper's on one of its data sets beside them. @throws UserError for what is no run */
export function qualityTable(
  dirs: readonly string[],
  { published }: { readonly published?: PublishedSet | undefined } = {},
): QualityTable {
  const runs = dirs.map(openJudged);
  const own = runs.flatMap(rowsOf);
  const rows = [...own, ...floorsOf(own), ...(published ? publishedRows(published) : [])];
  const [like] = own;
  const lacking = runs
    .filter(({ results }) => results.length === 0)
    .map(({ name, dir }) => ({ run: name, command: qualityCommand(dir, like?.result) }));
  const references = [
    ...new Set(
      own.map(({ result }) => {
        const { images, split, data } = result?.reference ?? {};
        return `${images} ${split} images of ${data}`;
      }),
    ),
  ];
  const others = own.some(({ result }) => result?.features.standing === "other");
  const notes = [
    ...(own.length > 0
      ? [
          `Against ${references.join(", ")}; ± one standard error over samples. T counts the denoiser's step too.`,
        ]
      : []),
    ...(floorsOf(own).length > 0
      ? ["Real images: so many in the place of the samples; what no model can be expected to surpass."]
      : []),
    ...(published
      ? [
          "The paper's rows are its own: Inception features, models trained in full, samples whose number it does not give" +
            (others ? "; no number of other features compares with them." : "."),
        ]
      : []),
  ];
  const drawing: Drawing | undefined =
    own.length === 0
      ? undefined
      : {
          ...{ kind: "chart", chart: chartOf(rows), rows: rows.map(csvRow) },
          settings: { notes, lacking, published: published ?? null },
        };
  return { cells: rows.length > 0 ? cellsOf(rows) : [], notes, lacking, drawing };
}
