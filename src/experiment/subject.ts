/** What a measurement is of: its images, its weights and its draws, described in one way for every metric. */
import type { ImageSource } from "../data/index.js";
import {
  type Batch,
  hasBound,
  hasReplaceableSchedule,
  type ImageModel,
  isDiffusion,
} from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { type FloatDtype, Streams, torchVersion } from "../torch/index.js";
import type { JsonObject } from "./checkpoint-files.js";
import type { Config } from "./config.js";
import { evaluationPass, openSplit, readBatch } from "./experiment.js";
import type { Measurement, MeasureRequest } from "./metric.js";
import { changesOf, type Trained } from "./trained.js";
import { precisionOf, unusual } from "./unusual.js";

export interface Subject extends Pick<Measurement, "name" | "facts" | "machine"> {
  readonly source: ImageSource;
  readonly images: number;
  readonly passes: number;
  readonly batchSize: number;
  /** T of the bound, 0 for continuous time. */
  readonly steps: number;
  readonly streams: Streams;
  readonly pass: ReturnType<typeof evaluationPass>;
  readBatch(indices: readonly number[]): Batch;
  /** `on 256 test images of cifar10, averaged weights of step 8000, float32` */
  readonly words: string;
}

/** What is peculiar to a metric. */
export interface Peculiar {
  readonly metric: string;
  readonly dequantisation: string;
  /** That of a run with this config, where it is not the machine's. */
  precision?(config: Config): FloatDtype | undefined;
  /** Independent draws of every image, where they are not the passes of the bound. */
  readonly draws?: number;
  /** What else the numbers depend on. */
  readonly options?: JsonObject;
  /** Images in the place of the run's own. */
  readonly source?: ImageSource;
  /** Options that are not the usual ones, for the result's name. */
  readonly variant?: readonly string[];
}

function replacedBy(schedule: MeasureRequest["schedule"]): string {
  if (schedule === undefined) return "";
  return `, the schedule replaced by ${schedule === "mean" ? "its mean over pixels" : "a line"}`;
}

export async function subjectOf(
  trained: Trained<ImageModel>,
  request: MeasureRequest,
  peculiar: Peculiar,
): Promise<Subject> {
  const { config, own, run, step, ema, system } = trained;
  const { schedule } = request;
  if (schedule !== undefined) {
    if (!isDiffusion(system) || !hasReplaceableSchedule(system))
      throw new UserError(
        `expected a system whose schedule can be replaced for --schedule ${schedule}, got ${config.system}`,
      );
    system.replaceSchedule(schedule);
  }
  const { metric, dequantisation, options = {}, variant = [] } = peculiar;
  const { seed } = request;
  const machine = {
    ...trained.machine,
    precision: peculiar.precision?.(config) ?? trained.machine.precision,
  };
  const split = request.split ?? config.data.evaluationSplit;
  const source = peculiar.source ?? (await openSplit(config, split));
  const images = Math.min(request.images ?? config.evaluate.images ?? source.length, source.length);
  const passes = request.passes ?? config.evaluate.passes;
  const batchSize = request.batchSize ?? config.evaluate.batchSize;
  const steps = request.steps ?? (isDiffusion(system) && hasBound(system) ? (system.steps ?? 0) : 0);
  const { precision } = machine;
  const changes = changesOf(trained);
  const facts = {
    ...{ metric, images, passes, ...options, split, ema, precision, step, steps, seed, batchSize },
    ...(schedule === undefined ? {} : { schedule }),
    ...changes.facts,
    run: run.name,
    system: config.system,
    data: {
      name: source.name,
      fingerprint: source.fingerprint,
      shape: source.shape,
      ...(config.data.size === undefined || peculiar.source ? {} : { size: config.data.size }),
      dequantisation,
      augmentation: config.data.augment,
    },
  };
  const parts = [
    ...[metric, split, String(step).padStart(8, "0"), ema ? "ema" : "raw"],
    ...(steps > 0 ? [`T${steps}`] : []),
    ...(schedule === undefined ? [] : [`schedule-${schedule}`]),
    ...variant,
    ...changes.name,
    ...unusual(
      { seed, precision, batchSize },
      {
        precision: peculiar.precision?.(own) ?? precisionOf(own),
        batchSize: own.evaluate.batchSize,
      },
    ),
    `${images}x${peculiar.draws ?? passes}`,
  ];
  return {
    ...{ source, images, passes, batchSize, steps, facts, streams: new Streams(seed) },
    name: parts.join("-"),
    machine: { libtorch: torchVersion().torch, ...machine },
    pass: evaluationPass(machine),
    readBatch: (indices) => readBatch(source, indices, { config, device: machine.device }),
    words: `on ${images} ${split} images of ${source.name}, ${ema ? "averaged" : "raw"} weights of step ${step}, ${precision}${replacedBy(schedule)}`,
  };
}
