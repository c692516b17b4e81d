/** `varidiff analyze`: the figures of a run, or of a config before it is trained. */
import path from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import type { Figure, FigureContext, FigureRequest } from "../analysis/index.js";
import { figureNamed, figures, writeDrawing } from "../analysis/index.js";
import type { Split } from "../data/index.js";
import type { DiffusionSystem } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { listCheckpoints } from "../experiment/checkpoint-files.js";
import { type Config, configSchema } from "../experiment/config.js";
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
import { planOf } from "../experiment/plan.js";
import { provenance } from "../experiment/provenance.js";
import { openTrained } from "../experiment/trained.js";
import { writeFileAtomic } from "../io/index.js";
import { Streams, torchVersion } from "../torch/index.js";
import { collect, exitCodeOf, interruptible, wholeNumber } from "./options.js";
import { emit } from "./output.js";
import { createProgress } from "./progress.js";
import { conditionOf } from "./sample.js";

interface AnalyzeOptions extends FigureRequest {
  readonly figure: readonly string[];
  readonly split?: Split;
  readonly seed: number;
  readonly weights: "ema" | "raw";
  readonly checkpoint?: number;
  readonly out?: string;
  readonly set: readonly string[];
  readonly json?: boolean;
}

/** What is looked at: a run's checkpoint, or what a config describes. */
interface Subject {
  /** Of the run or the config. */
  readonly name: string;
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
}

const ALL = "all";

export function analyzeCommand(): Command {
  const width = Math.max(...figures.map(({ name }) => name.length));
  const list = figures.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return new Command("analyze")
    .description("Draw the figures of a run, or those of a config that need no training: SVG, PNG and CSV.")
    .argument("<RUN>", "a run folder, or a CONFIG.yaml")
    .option(
      "--figure <NAME>",
      `which (repeatable, or comma-separated), or ${ALL}; default those that run no network`,
      (value: string, before: readonly string[]) => [
        ...before,
        ...value.split(",").map((name) => name.trim()),
      ],
      [],
    )
    .option("--images <N>", "images shown, or measured on", wholeNumber(1))
    .option("--times <K>", "times that they are looked at", wholeNumber(1))
    .option("--passes <K>", "independent draws of every image", wholeNumber(1))
    .option("--steps <T,...>", "of bits-per-steps: numbers of steps, 0 for continuous time", stepList)
    .addOption(new Option("--split <SPLIT>", "which images").choices(["train", "validation", "test"]))
    .option("--seed <S>", "seed of every draw", wholeNumber(0), 0)
    .addOption(
      new Option("--weights <KIND>", "averaged or raw weights").choices(["ema", "raw"]).default("ema"),
    )
    .option("--checkpoint <STEP>", "a checkpoint other than the newest", wholeNumber(0))
    .option("--out <DIR>", "where to write; default the run's figures/, for a config figures/<name>/")
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
  varidiff analyze configs/quickstart.yaml --figure forward

The default of --images, --times, --passes and --steps is each figure's own.
`,
    )
    .action(analyze);
}

/** `10,100,0` */
function stepList(text: string): readonly number[] {
  const steps = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (steps.every((T) => Number.isSafeInteger(T) && T >= 0)) return steps;
  throw new InvalidArgumentError("expected whole numbers such as 10,100,1000,0");
}

async function analyze(target: string, options: AnalyzeOptions): Promise<void> {
  const asked = options.figure.includes(ALL) ? figures : options.figure.map(figureNamed);
  const subject = /\.ya?ml$/i.test(target)
    ? await configSubject(target, options)
    : runSubject(target, options);
  const chosen = chooseFigures(asked, subject, options);
  const stop = interruptible();
  const folder = options.out ?? subject.folder;
  const drawn: Record<string, unknown> = {};
  const files: string[] = [];
  try {
    for (const figure of chosen) {
      const document = await drawFigure(figure, subject, { ...options, folder, signal: stop.signal });
      drawn[figure.name] = document;
      files.push(...document.files);
      if (!options.json) emit(document, { text: () => document.files.join("\n") });
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

/** @throws UserError where a config is not enough for a figure that was asked for by its name */
function chooseFigures(
  asked: readonly Figure[],
  subject: Subject,
  options: AnalyzeOptions,
): readonly Figure[] {
  const possible = ({ needs }: Figure) => subject.kind === "run" || needs === "config";
  if (options.figure.length === 0)
    return figures.filter((f) => f.needs !== "weights" && possible(f) && f.fits(subject.system));
  if (options.figure.includes(ALL)) return asked.filter((f) => possible(f) && f.fits(subject.system));
  const impossible = asked.find((figure) => !possible(figure));
  if (impossible)
    throw new UserError(
      `expected a run for figure "${impossible.name}", got a config: train it first, or draw ${figures
        .filter(possible)
        .map(({ name }) => name)
        .join(" or ")}`,
    );
  return asked;
}

function runSubject(dir: string, options: AnalyzeOptions): Subject {
  const { weights, set: overrides, checkpoint } = options;
  const trained = openTrained(dir, { weights, step: checkpoint, overrides });
  for (const warning of trained.warnings) process.stderr.write(`${warning}\n`);
  const { run, config, machine, system, step, ema } = trained;
  const kind = ema ? "averaged" : "raw";
  return {
    name: run.name,
    label: `${run.name}, step ${step.toLocaleString("en-US")}, ${kind} weights`,
    kind: "run",
    config,
    machine,
    system,
    step,
    ema,
    records: readMetrics(run),
    folder: run.paths.figures,
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
  };
}

/** Draws and writes one figure; the record of it, which is also written beside it. */
async function drawFigure(
  figure: Figure,
  subject: Subject,
  o: AnalyzeOptions & { readonly folder: string; readonly signal: AbortSignal },
): Promise<{ readonly files: readonly string[] }> {
  const { config, machine, system, step, ema } = subject;
  let progress: ReturnType<typeof createProgress> | undefined;
  const start = performance.now();
  const context: FigureContext = {
    name: subject.name,
    label: subject.label,
    system,
    initial: subject.initial,
    records: subject.records,
    request: o,
    async openImages() {
      const source = await openSplit(config, o.split ?? config.data.evaluationSplit);
      const read = (indices: readonly number[]) =>
        readBatch(source, indices, { config, device: machine.device });
      return { source, read };
    },
    conditionOf: (count) => conditionOf(subject, count, undefined),
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
    const drawing = await figure.draw(context);
    const base = path.join(o.folder, figure.name);
    const files = [...(await writeDrawing(base, drawing)), `${base}.json`];
    const document = {
      figure: figure.name,
      files,
      of: subject.name,
      system: config.system,
      data: config.data.name,
      step,
      ema,
      seed: o.seed,
      ...drawing.settings,
      seconds: (performance.now() - start) / 1000,
      provenance: provenance({ libtorch: torchVersion().torch, ...machine }),
      rows: drawing.rows ?? [],
    };
    writeFileAtomic(`${base}.json`, `${JSON.stringify(document, null, 2)}\n`);
    return document;
  } finally {
    progress?.done();
  }
}
