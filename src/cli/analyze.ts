/** `varidiff analyze`: the figures of a run, of a config before it is trained, or of formulas alone. */
import path from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import type {
  Drawing,
  FigureSubject,
  Illustration,
  KeptCheckpoint,
  Row,
  SystemFigure,
} from "../analysis/figure.js";
import type { Figure, FigureContext, FigureRequest } from "../analysis/index.js";
import { figureNamed, figures, writeDrawing } from "../analysis/index.js";
import { type PublishedSet, publishedSets } from "../analysis/published-daed.js";
import { transferCells } from "../analysis/transfer-table.js";
import type { ImageSource, Split } from "../data/index.js";
import type { DiffusionSystem } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { listCheckpoints } from "../experiment/checkpoint-files.js";
import { type Config, configSchema } from "../experiment/config.js";
import { conditionOf } from "../experiment/drawing.js";
import {
  buildSystem,
  evaluationPass,
  type Machine,
  openSplit,
  prepareMachine,
  readBatch,
} from "../experiment/experiment.js";
import { type MetricsRecord, readMetrics } from "../experiment/journal.js";
import { loadConfig } from "../experiment/load-config.js";
import { type ImageSet, openOtherSet, sameSet } from "../experiment/other-images.js";
import { planOf } from "../experiment/plan.js";
import { packageVersion, provenance } from "../experiment/provenance.js";
import { type QualityResult, readQuality } from "../experiment/quality-results.js";
import { openTrained } from "../experiment/trained.js";
import { writeFileAtomic } from "../io/index.js";
import { Streams, torchVersion } from "../torch/index.js";
import { printQualityTable } from "./analyze-table.js";
import { collect, exitCodeOf, fraction, interruptible, wholeNumber } from "./options.js";
import { emit } from "./output.js";
import { createProgress } from "./progress.js";
import { markdown } from "./table.js";

interface AnalyzeOptions extends FigureRequest {
  readonly figure: readonly string[];
  readonly table?: "quality" | "transfer";
  readonly published?: PublishedSet;
  readonly with: readonly string[];
  readonly data: readonly string[];
  readonly split?: Split;
  readonly seed: number;
  readonly weights: "ema" | "raw";
  readonly checkpoint?: number;
  readonly out?: string;
  readonly set: readonly string[];
  readonly json?: boolean;
}

/** What every figure is drawn with. */
interface DrawOptions extends AnalyzeOptions {
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly others: readonly Subject[];
  /** What was done to images of other data sets, by model and set. */
  readonly fitted: Map<string, { readonly of: string; readonly data: string; readonly adaptation: string }>;
}

/** What is looked at: a run's checkpoint, or what a config describes. */
interface Subject {
  /** Of the run or the config. */
  readonly name: string;
  /** The run's folder or the config's file. */
  readonly path: string;
  readonly label: string;
  readonly kind: "run" | "config";
  readonly config: Config;
  readonly machine: Machine;
  readonly system: DiffusionSystem;
  readonly step: number;
  readonly ema: boolean;
  readonly records: readonly MetricsRecord[];
  /** Where its figures go. */
  readonly folder: string;
  initial(): DiffusionSystem | undefined;
  checkpoints(): readonly KeptCheckpoint[];
  qualityResults(): readonly QualityResult[];
}

const ALL = "all";

export function analyzeCommand(): Command {
  const width = Math.max(...figures.map(({ name }) => name.length));
  const list = figures.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return new Command("analyze")
    .description("Draw the figures of a run, or those of a config that need no training: SVG, PNG and CSV.")
    .argument("[RUN]", "a run folder, or a CONFIG.yaml; some figures need neither")
    .option(
      "--figure <NAME>",
      `which (repeatable, or comma-separated), or ${ALL}; default those that run no network`,
      (value: string, before: readonly string[]) => [
        ...before,
        ...value.split(",").map((name) => name.trim()),
      ],
      [],
    )
    .addOption(
      new Option(
        "--table <NAME>",
        "print a table of the run and those of --with: what evaluate --metrics quality found, or figure transfer",
      )
        .choices(["quality", "transfer"])
        .conflicts("figure"),
    )
    .addOption(
      new Option(
        "--published <SET>",
        "with --table: the rows of DAED's paper on this data set too (of transfer: its table 2)",
      ).choices(publishedSets),
    )
    .option("--with <RUN>", "a run to compare with (repeatable), for figures of several", collect, [])
    .option("--images <N>", "images shown, or measured on", wholeNumber(1))
    .option(
      "--data <NAME>",
      "images of another data set, fitted to the model's shape (repeatable for figures of several)",
      collect,
      [],
    )
    .option(
      "--at <BETA>",
      "of reconstructions: variance of the noise; default the denoiser's, or 0.1",
      fraction,
    )
    .option("--columns <N>", "of samples: images a row", wholeNumber(1))
    .option("--times <K>", "times that they are looked at", wholeNumber(1))
    .option("--passes <K>", "independent draws of every image", wholeNumber(1))
    .option("--steps <T,...>", "of bits-per-steps: numbers of steps, 0 for continuous time", stepList)
    .addOption(new Option("--split <SPLIT>", "which images").choices(["train", "validation", "test"]))
    .option("--seed <S>", "seed of every draw", wholeNumber(0), 0)
    .addOption(
      new Option("--weights <KIND>", "averaged or raw weights").choices(["ema", "raw"]).default("ema"),
    )
    .option("--checkpoint <STEP>", "a checkpoint other than the newest", wholeNumber(0))
    .option(
      "--out <DIR>",
      "where to write; default the run's figures/, for a config figures/<name>/, else figures/",
    )
    .option("--set <KEY=VALUE>", "precision, device, threads, data.path or sample.steps", collect, [])
    .option("--json", "print one JSON document, with the numbers of every figure")
    .addHelpText(
      "after",
      `
Figures:
${list.join("\n")}

Examples:
  varidiff analyze runs/0001-quickstart
  varidiff analyze runs/0001-quickstart --figure loss-per-time --images 256
  varidiff analyze runs/0001-quickstart --figure bits-per-steps --steps 10,100,1000,0 --passes 8
  varidiff analyze runs/0001-quickstart --figure estimator-variance,samples --out figures
  varidiff analyze runs/0001-quickstart --figure samples --images 100 --columns 20
  varidiff analyze runs/0001-quickstart --figure compared-samples --with runs/0002-quickstart
  varidiff analyze runs/0002-ddgm --figure bound-shares --with runs/0003-daed
  varidiff analyze runs/0002-ddgm --table quality --with runs/0003-daed --published fashion-mnist
  varidiff analyze configs/quickstart.yaml --figure forward
  varidiff analyze --figure line-integral

The default of --images, --columns, --times, --passes and --steps is each figure's own. --weights, --checkpoint and
--set hold for the runs of --with too.
`,
    )
    .action(analyze);
}

const needsNothing = (figure: Figure): figure is Illustration => figure.needs === "nothing";
const needsSystem = (figure: Figure): figure is SystemFigure => figure.needs !== "nothing";

/** `10,100,0` */
function stepList(text: string): readonly number[] {
  const steps = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (steps.every((T) => Number.isSafeInteger(T) && T >= 0)) return steps;
  throw new InvalidArgumentError("expected whole numbers such as 10,100,1000,0");
}

async function analyze(target: string | undefined, options: AnalyzeOptions): Promise<void> {
  if (options.published !== undefined && options.table === undefined)
    throw new UserError("--published is for tables: add --table quality");
  if (options.table === "quality") return printQualityTable(target, options);
  return drawFigures(target, options.table ? { ...options, figure: [options.table] } : options);
}

async function drawFigures(target: string | undefined, options: AnalyzeOptions): Promise<void> {
  const asked = options.figure.filter((name) => name !== ALL).map(figureNamed);
  // The subject comes last: its threads are those that figures are drawn with.
  const others = target === undefined ? [] : options.with.map((dir) => runSubject(dir, options));
  const subject = target === undefined ? undefined : await subjectAt(target, options);
  if (subject) for (const other of others) warnOfOtherData(subject, other);
  const chosen: readonly Figure[] = subject
    ? [...chooseFigures(asked.filter(needsSystem), subject, options), ...asked.filter(needsNothing)]
    : withoutSubject(asked, options);
  const stop = interruptible();
  const folder = options.out ?? subject?.folder ?? "figures";
  const drawn: Record<string, unknown> = {};
  const files: string[] = [];
  try {
    for (const figure of chosen) {
      const document = await drawFigure(figure, subject, {
        ...{ ...options, folder, others, signal: stop.signal, fitted: new Map() },
      });
      drawn[figure.name] = document;
      files.push(...document.files);
      if (!options.json) emit(document, { text: () => textOf(document, options) });
    }
  } catch (error) {
    const caught = stop.caught();
    if (!caught) throw error;
    const kept = files.length > 0 ? `what is in ${folder} is whole` : "nothing was written";
    throw new UserError(`interrupted: ${kept}`, { exitCode: exitCodeOf(caught) });
  } finally {
    stop.release();
  }
  if (options.json) emit({ files, figures: drawn }, { json: true, text: () => "" });
}

/** The paths of a figure's files, or its numbers where a table of them was asked for. */
function textOf({ files, rows }: FigureDocument, { table, published }: AnalyzeOptions): string {
  if (table === undefined) return files.join("\n");
  return markdown(transferCells(rows, { published: published && "listed" }));
}

/** @throws UserError unless all that was asked for needs neither a run nor a config */
function withoutSubject(asked: readonly Figure[], options: AnalyzeOptions): readonly Illustration[] {
  const illustrations = asked.filter(needsNothing);
  if (illustrations.length > 0 && illustrations.length === options.figure.length) return illustrations;
  const names = figures.filter(needsNothing).map(({ name }) => name);
  const needing = options.figure.find((name) => !names.includes(name));
  const wanted = needing === undefined ? "" : ` for figure "${needing}"`;
  throw new UserError(
    `expected a run folder or a CONFIG.yaml${wanted}, got none: name one, or draw ${names.join(" or ")}`,
  );
}

/** The figures of a system that are drawn. @throws UserError where a config is not enough for one of those asked for */
function chooseFigures(
  asked: readonly SystemFigure[],
  subject: Subject,
  options: AnalyzeOptions,
): readonly SystemFigure[] {
  const ofSystems = figures.filter(needsSystem);
  const possible = ({ needs }: SystemFigure) => subject.kind === "run" || needs === "config";
  const cheap = ({ needs }: SystemFigure) => needs === "config" || needs === "records";
  const unjudged = ({ needs }: SystemFigure) =>
    needs === "quality results" && subject.qualityResults().length === 0;
  const lonely = ({ needs }: SystemFigure) => needs === "other runs" && options.with.length === 0;
  if (options.figure.length === 0)
    return ofSystems.filter((f) => cheap(f) && possible(f) && f.fits(subject.system));
  if (options.figure.includes(ALL))
    return ofSystems.filter((f) => possible(f) && !lonely(f) && !unjudged(f) && f.fits(subject.system));
  const impossible = asked.find((figure) => !possible(figure));
  if (impossible)
    throw new UserError(
      `expected a run for figure "${impossible.name}", got a config: train it first, or draw ${ofSystems
        .filter(possible)
        .map(({ name }) => name)
        .join(" or ")}`,
    );
  const alone = asked.find(lonely);
  if (alone)
    throw new UserError(
      `expected other runs to compare with for figure "${alone.name}", got none: add --with RUN`,
    );
  return asked;
}

/** Says so where two models were trained on different images: side by side they then mean little. */
function warnOfOtherData(subject: Subject, other: Subject): void {
  const dataOf = ({ config: { data } }: Subject) => {
    const { name, size, variant } = data;
    return [name, ...(size === undefined ? [] : [`at ${size}`]), ...(variant === "none" ? [] : [variant])];
  };
  const [own, others] = [subject, other].map((one) => dataOf(one).join(" "));
  if (own !== others)
    process.stderr.write(`${other.name} was trained on ${others}, ${subject.name} on ${own}: data differ\n`);
}

async function subjectAt(target: string, options: AnalyzeOptions): Promise<Subject> {
  return /\.ya?ml$/i.test(target) ? configSubject(target, options) : runSubject(target, options);
}

function runSubject(dir: string, options: AnalyzeOptions): Subject {
  const { weights, set: overrides, checkpoint } = options;
  const trained = openTrained(dir, { weights, step: checkpoint, overrides });
  for (const warning of trained.warnings) process.stderr.write(`${warning}\n`);
  const { run, config, machine, system, step, ema } = trained;
  const kind = ema ? "averaged" : "raw";
  return {
    name: run.name,
    path: dir,
    label: `${run.name}, step ${step.toLocaleString("en-US")}, ${kind} weights`,
    kind: "run",
    config,
    machine,
    system,
    step,
    ema,
    records: readMetrics(run),
    folder: run.paths.figures,
    checkpoints: () =>
      listCheckpoints(run)
        .filter((kept) => kept <= step)
        .map((kept) => ({
          step: kept,
          open: () => openTrained(dir, { weights, step: kept, overrides }).system,
        })),
    qualityResults: () => readQuality(run),
    initial() {
      if (step === 0) return system;
      if (!listCheckpoints(run).includes(0)) return undefined;
      return openTrained(dir, { weights: "raw", step: 0, overrides }).system;
    },
  };
}

async function configSubject(file: string, options: AnalyzeOptions): Promise<Subject> {
  const config = loadConfig(configSchema, { file, overrides: options.set });
  const { imageShape } = await planOf(config);
  const machine = prepareMachine(config);
  const { system } = buildSystem(config, imageShape);
  system.initialise(new Streams(config.train.seed), { device: machine.device });
  const name = path.basename(file, path.extname(file));
  return {
    name,
    path: file,
    label: `${path.basename(file)}, before training`,
    kind: "config",
    config,
    machine,
    system,
    step: 0,
    ema: false,
    records: [],
    folder: path.join("figures", name),
    initial: () => system,
    checkpoints: () => [],
    qualityResults: () => [],
  };
}

/** The record of a figure. */
interface FigureDocument {
  readonly files: readonly string[];
  readonly rows: readonly Row[];
}

/** Draws and writes one figure; the record of it, which is also written beside it. */
async function drawFigure(
  figure: Figure,
  subject: Subject | undefined,
  o: DrawOptions,
): Promise<FigureDocument> {
  const start = performance.now();
  const { drawing, about, made } = await draw(figure, subject, o);
  const base = path.join(o.folder, figure.name);
  const files = [...(await writeDrawing(base, drawing)), `${base}.json`];
  const document = {
    figure: figure.name,
    files,
    ...about,
    ...drawing.settings,
    seconds: (performance.now() - start) / 1000,
    provenance: made,
    rows: drawing.rows ?? [],
  };
  writeFileAtomic(`${base}.json`, `${JSON.stringify(document, null, 2)}\n`);
  return document;
}

interface Drawn {
  readonly drawing: Drawing;
  /** What it is of. */
  readonly about: Readonly<Record<string, unknown>>;
  readonly made: Readonly<Record<string, unknown>>;
}

async function draw(figure: Figure, subject: Subject | undefined, o: DrawOptions): Promise<Drawn> {
  if (needsNothing(figure)) {
    const drawing = await figure.draw({ request: o });
    const made = {
      varidiff: packageVersion(),
      node: process.versions.node,
      date: new Date().toISOString(),
    };
    return { drawing, about: {}, made };
  }
  if (!subject) throw new Error(`expected a subject for figure "${figure.name}"`);
  const { config, machine, step, ema } = subject;
  return {
    drawing: await drawSystemFigure(figure, subject, o),
    about: {
      ...{ of: subject.name, with: o.others.map(({ label }) => label) },
      ...{ system: config.system, data: config.data.name, step, ema, seed: o.seed },
      ...(o.fitted.size === 0 ? {} : { otherData: [...o.fitted.values()] }),
    },
    made: { ...provenance({ libtorch: torchVersion().torch, ...machine }) },
  };
}

/** A subject as figures see it. */
function figureSubject(subject: Subject, o: DrawOptions): FigureSubject {
  const { name, path, label, config, machine, system, records } = subject;
  const { initial, checkpoints, qualityResults } = subject;
  const { data } = config;
  return {
    ...{ name, path, label, system, records, initial, checkpoints, qualityResults, data },
    async openImages(asked, set = askedSet(o.data) ?? data) {
      const split = asked ?? o.split ?? data.evaluationSplit;
      const { source, adaptation } = await openSet(subject, set, split);
      if (adaptation !== undefined)
        o.fitted.set(`${name} ${set.name}`, { of: name, data: set.name, adaptation });
      const read = (indices: readonly number[]) =>
        readBatch(source, indices, { config, device: machine.device });
      return { source, read, ...(adaptation === undefined ? {} : { adaptation }) };
    },
    conditionOf: (count) => conditionOf(subject, count, undefined),
  };
}

/** The data set in the place of a model's own. @throws UserError for more than one */
function askedSet([set, ...more]: readonly string[]): ImageSet | undefined {
  if (set === undefined) return undefined;
  if (more.length === 0) return { name: set };
  throw new UserError(
    `expected one --data for a figure of one data set, got ${[set, ...more].join(" and ")}: draw one by one`,
  );
}

/** A split of the set that the model was trained on, or of another, fitted to it. */
async function openSet(
  { config, system }: Subject,
  set: ImageSet,
  split: Split,
): Promise<{ readonly source: ImageSource; readonly adaptation?: string }> {
  if (sameSet(set, config.data)) return { source: await openSplit(config, split) };
  const source = await openOtherSet(config, system.shape as [number, number, number], { set, split });
  return { source, adaptation: source.adaptation };
}

/** Draws a figure of a system, and shows how far it is. */
async function drawSystemFigure(figure: SystemFigure, subject: Subject, o: DrawOptions): Promise<Drawing> {
  const { config, machine } = subject;
  let progress: ReturnType<typeof createProgress> | undefined;
  const context: FigureContext = {
    ...figureSubject(subject, o),
    others: o.others.map((other) => figureSubject(other, o)),
    request: o,
    sampling: config.sample,
    batchSize: config.evaluate.batchSize,
    streams: new Streams(o.seed),
    pass: evaluationPass(machine),
    device: machine.device,
    signal: o.signal,
    onProgress(done, total) {
      progress ??= createProgress({ total, unit: "image passes", label: figure.name });
      progress.update(done);
    },
  };
  try {
    return await figure.draw(context);
  } finally {
    progress?.done();
  }
}
