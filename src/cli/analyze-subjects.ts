/** What `varidiff analyze` looks at: a run's checkpoint, or what a config describes before it is trained. */
import path from "node:path";
import type { KeptCheckpoint } from "../analysis/figure.js";
import type { DiffusionSystem } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { listCheckpoints } from "../experiment/checkpoint-files.js";
import { type Config, configSchema } from "../experiment/config.js";
import { buildSystem, type Machine, prepareMachine } from "../experiment/experiment.js";
import { type MetricsRecord, readMetrics } from "../experiment/journal.js";
import { loadConfig } from "../experiment/load-config.js";
import { planOf } from "../experiment/plan.js";
import { type QualityResult, readQuality } from "../experiment/quality-results.js";
import { ensureStart } from "../experiment/start-file.js";
import { openTrained } from "../experiment/trained.js";
import { Streams } from "../torch/index.js";
import type { AnalyzeOptions } from "./analyze-options.js";

/** What is looked at: a run's checkpoint, or what a config describes. */
export interface Subject {
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

/** What a path names: a config by its ending, else a run. @throws UserError for neither */
export async function subjectAt(target: string, options: AnalyzeOptions): Promise<Subject> {
  return /\.ya?ml$/i.test(target) ? configSubject(target, options) : runSubject(target, options);
}

/** The checkpoint of a run that was asked for. @throws UserError for what is no run */
export async function runSubject(dir: string, options: AnalyzeOptions): Promise<Subject> {
  const { weights, set: overrides, checkpoint } = options;
  const trained = openTrained(dir, { weights, step: checkpoint, overrides });
  const log = (line: string) => process.stderr.write(`${line}\n`);
  for (const warning of trained.warnings) log(warning);
  // Most figures need no start: without it those that draw samples say so themselves.
  await ensureStart(trained, { log }).catch((error: unknown) => {
    if (!(error instanceof UserError)) throw error;
    log(error.message);
  });
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

/** Says so where two models were trained on different images: side by side they then mean little. */
export function warnOfOtherData(subject: Subject, other: Subject): void {
  const dataOf = ({ config: { data } }: Subject) => {
    const { name, size, variant } = data;
    return [name, ...(size === undefined ? [] : [`at ${size}`]), ...(variant === "none" ? [] : [variant])];
  };
  const [own, others] = [subject, other].map((one) => dataOf(one).join(" "));
  if (own !== others)
    process.stderr.write(`${other.name} was trained on ${others}, ${subject.name} on ${own}: data differ\n`);
}
