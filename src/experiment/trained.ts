/** A run as something to measure and to draw from: its config, its system, and the weights of a checkpoint. */
import { type DiffusionSystem, type ImageModel, isDiffusion } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { loadTensors } from "../torch/index.js";
import { type Checkpoint, newestWholeCheckpoint, openCheckpoint } from "./checkpoint-files.js";
import { type Config, configSchema } from "./config.js";
import { buildModel, type Machine, prepareMachine } from "./experiment.js";
import { checkParameters } from "./given-run.js";
import { loadConfig } from "./load-config.js";
import { type OpenedRun, openRun } from "./run-folder.js";
import { restoreStart } from "./start-file.js";

export interface Trained<S extends ImageModel = DiffusionSystem> {
  readonly run: OpenedRun;
  readonly config: Config;
  /** The run's own, without what was asked otherwise this time. */
  readonly own: Config;
  readonly machine: Machine;
  readonly system: S;
  /** Steps that the weights were trained for. */
  readonly step: number;
  /** Whether they are the moving average. */
  readonly ema: boolean;
  /** What of the model is not as its config says, as in `model.stepNoise=0.013`. */
  readonly changes: readonly string[];
  readonly warnings: readonly string[];
}

export interface TrainedRequest {
  /** `ema`, the moving average, is what results are reported with. */
  readonly weights: "ema" | "raw";
  /** A checkpoint's step; the newest whole one where absent. */
  readonly step?: number | undefined;
  /** `precision=float32` and the like; what was trained cannot be changed. */
  readonly overrides: readonly string[];
}

/** Keys of how a training goes about its steps, not of what it learns. */
export const incidental: readonly string[] = [
  "recompute",
  "graph",
  "logEvery",
  "checkpointEvery",
  "keepCheckpoints",
  "sampleEvery",
  "evaluateEvery",
].map((key) => `train.${key}`);

/** What may change once a run is trained; everything else is what was trained. */
const free: readonly string[] = [
  "data.path",
  "data.evaluationSplit",
  "evaluate",
  "sample",
  "precision",
  "device",
  "threads",
  "train.steps",
  "train.minutes",
  ...incidental,
  // How models of degradations are sampled from, and the deviation that their bound charges for.
  ...["latentMode", "clamp", "stepNoise", "startNoise"].map((key) => `model.${key}`),
];

/**
 * The config of a run.
 * @throws UserError for an override that would change what was trained
 */
export function runConfig(run: OpenedRun, overrides: readonly string[] = []): Config {
  const config = loadConfig(configSchema, { text: run.configText, file: run.paths.config, overrides });
  for (const override of overrides) {
    const key = (override.split("=")[0] as string).trim();
    if (!free.some((name) => key === name || key.startsWith(`${name}.`)))
      throw new UserError(
        `"${override}" would change what ${run.dir} was trained for: start a new run for it`,
      );
  }
  return config;
}

/** @throws UserError where there is no such run, no whole checkpoint, or no diffusion model in it. */
export function openTrained(dir: string, request: TrainedRequest): Trained {
  return asDiffusion(openAnyTrained(dir, request));
}

/** @throws UserError where what was trained is no diffusion model */
export function asDiffusion(trained: Trained<ImageModel>): Trained {
  const { system, config, run } = trained;
  if (!isDiffusion(system))
    throw new UserError(`expected the run of a diffusion model, got ${run.dir}, a ${config.system}`);
  return { ...trained, system };
}

/** Whatever was trained. @throws UserError where there is no such run or no whole checkpoint. */
export function openAnyTrained(dir: string, request: TrainedRequest): Trained<ImageModel> {
  const run = openRun(dir);
  const config = runConfig(run, request.overrides);
  const { checkpoint, warnings } = choose(run, request.step);
  const machine = prepareMachine(config);
  const shape = imageShape(checkpoint, run);
  const { system } = buildModel(config, shape);
  const stem = request.weights === "ema" ? "ema" : "weights";
  const file = checkpoint.files[stem];
  if (!file)
    throw new UserError(
      `expected ${stem}.safetensors in checkpoint ${checkpoint.step} of ${dir}, found none`,
    );
  const { tensors } = loadTensors(file);
  checkParameters(system, tensors, {
    where: `the weights of step ${checkpoint.step} of ${dir}`,
    remedy: `restore ${run.paths.config}`,
  });
  system.load(tensors, { dtype: "float32", device: machine.device });
  for (const tensor of tensors.values()) tensor.dispose();
  restoreStart(run, system);
  return {
    run,
    config,
    own: runConfig(run),
    machine,
    system,
    step: checkpoint.step,
    ema: request.weights === "ema",
    changes: request.overrides.filter((override) => override.trim().startsWith("model.")),
    warnings,
  };
}

/** What was changed of the model, for facts of a result and for file names. */
export function changesOf({ changes }: Pick<Trained<ImageModel>, "changes">): {
  readonly facts: { readonly changes?: readonly string[] };
  readonly name: readonly string[];
} {
  if (changes.length === 0) return { facts: {}, name: [] };
  return { facts: { changes }, name: changes.map((change) => change.replace(/[^\w.=-]+/g, "_")) };
}

function choose(
  run: OpenedRun,
  step: number | undefined,
): { checkpoint: Checkpoint; warnings: readonly string[] } {
  if (step !== undefined) return { checkpoint: openCheckpoint(run, step), warnings: [] };
  const { checkpoint, warnings } = newestWholeCheckpoint(run);
  if (!checkpoint && warnings.length > 0)
    throw new UserError(
      `expected a whole checkpoint in ${run.paths.checkpoints}, found damaged ones only: ${warnings.map((warning) => warning.replace(/; use an earlier checkpoint$/, "")).join("; ")}`,
    );
  if (!checkpoint)
    throw new UserError(
      `expected a whole checkpoint in ${run.paths.checkpoints}, found none: train the run first`,
    );
  return { checkpoint, warnings };
}

function imageShape({ state, step }: Checkpoint, run: OpenedRun): [number, number, number] {
  const { shape } = state;
  if (Array.isArray(shape) && shape.length === 3) return shape as [number, number, number];
  throw new UserError(`expected the image shape in checkpoint ${step} of ${run.dir}, found none`);
}
