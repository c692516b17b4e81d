/** A run as something to measure and to draw from: its config, its system, and the weights of a checkpoint. */
import type { Denoiser } from "../diffusion/denoiser.js";
import type { DiffusionSystem } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { loadTensors } from "../torch/index.js";
import { type Checkpoint, newestWholeCheckpoint, openCheckpoint } from "./checkpoint-files.js";
import { type Config, configSchema } from "./config.js";
import { buildSystem, type Machine, prepareMachine } from "./experiment.js";
import { loadConfig } from "./load-config.js";
import { type OpenedRun, openRun } from "./run-folder.js";

export interface Trained {
  readonly run: OpenedRun;
  readonly config: Config;
  readonly machine: Machine;
  readonly system: DiffusionSystem;
  readonly denoiser: Denoiser;
  /** Steps that the weights were trained for. */
  readonly step: number;
  /** Whether they are the moving average. */
  readonly ema: boolean;
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

/** What may change once a run is trained; everything else is what was trained. */
const free: readonly string[] = [
  "data.path",
  "data.evaluationSplit",
  "evaluate",
  "sample",
  "precision",
  "device",
  "threads",
  ...[
    "steps",
    "minutes",
    "logEvery",
    "checkpointEvery",
    "keepCheckpoints",
    "sampleEvery",
    "evaluateEvery",
  ].map((key) => `train.${key}`),
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

/** @throws UserError where there is no such run or no whole checkpoint. */
export function openTrained(dir: string, request: TrainedRequest): Trained {
  const run = openRun(dir);
  const config = runConfig(run, request.overrides);
  const { checkpoint, warnings } = choose(run, request.step);
  const machine = prepareMachine(config);
  const shape = imageShape(checkpoint, run);
  const { system, denoiser } = buildSystem(config, shape);
  const stem = request.weights === "ema" ? "ema" : "weights";
  const file = checkpoint.files[stem];
  if (!file)
    throw new UserError(
      `expected ${stem}.safetensors in checkpoint ${checkpoint.step} of ${dir}, found none`,
    );
  const { tensors } = loadTensors(file);
  system.load(tensors, { dtype: "float32", device: machine.device });
  for (const tensor of tensors.values()) tensor.dispose();
  return {
    run,
    config,
    machine,
    system,
    denoiser,
    step: checkpoint.step,
    ema: request.weights === "ema",
    warnings,
  };
}

function choose(
  run: OpenedRun,
  step: number | undefined,
): { checkpoint: Checkpoint; warnings: readonly string[] } {
  if (step !== undefined) return { checkpoint: openCheckpoint(run, step), warnings: [] };
  const { checkpoint, warnings } = newestWholeCheckpoint(run);
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
