/** An experiment put together: its data, its system and the machine it runs on, from a config alone. */

import {
  augment,
  drawsPerImage,
  type ImageSource,
  imageBytes,
  type OnProgress,
  openDataset,
  type Split,
} from "../data/index.js";
import type { Pass } from "../diffusion/denoiser.js";
import { type Batch, type ImageModel, isDiffusion } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { type BuiltSystem, createModel } from "../systems/index.js";
import {
  type FloatDtype,
  fromTypedArray,
  physicalCores,
  rand,
  resolveDevice,
  resolvePrecision,
  type Streams,
  scope,
  setThreads,
  threadLimit,
} from "../torch/index.js";
import type { Config } from "./config.js";

/** Where and how tensors are computed. */
export interface Machine {
  readonly device: string;
  readonly precision: FloatDtype;
  readonly threads: number;
}

/** Sets the threads and says which device and precision `auto` means here. */
export function prepareMachine(config: Pick<Config, "device" | "precision" | "threads">): Machine {
  const device = resolveDevice(config.device);
  const fromEnvironment = Number(process.env.OMP_NUM_THREADS);
  const automatic =
    Number.isInteger(fromEnvironment) && fromEnvironment > 0 ? fromEnvironment : physicalCores();
  const threads = config.threads === "auto" ? Math.min(automatic, threadLimit()) : config.threads;
  setThreads(threads);
  return { device, precision: resolvePrecision(config.precision, device), threads };
}

/** One split of the config's data set. */
export async function openSplit(config: Config, split: Split, onProgress?: OnProgress): Promise<ImageSource> {
  const { name, path, size, variant } = config.data;
  const source = await openDataset({ name, path, size, variant, split, onProgress });
  if (config.model.condition === "class" && !source.labels)
    throw new UserError(
      `expected labels in data set "${name}" for model.condition class, found none: set model.condition=none`,
    );
  if (config.model.condition === "class" && "classes" in config.model)
    checkClasses(source, config.model.classes);
  return source;
}

/** @throws UserError where a label is none of `classes` */
function checkClasses({ name, split, labels }: ImageSource, classes: number): void {
  let found = 0;
  for (const label of labels ?? []) found = Math.max(found, label + 1);
  if (found > classes)
    throw new UserError(
      `expected ${classes} classes in the ${split} images of "${name}", found labels up to ${found - 1}: set model.classes=${found}`,
    );
}

/** What a config describes for images of this shape, without parameters yet. */
export function buildModel(
  config: Config,
  shape: readonly [number, number, number],
): BuiltSystem<ImageModel> {
  return createModel(config, { shape });
}

/** The diffusion model that a config describes. @throws UserError where it describes something else */
export function buildSystem(config: Config, shape: readonly [number, number, number]): BuiltSystem {
  const { system, network } = buildModel(config, shape);
  if (!isDiffusion(system))
    throw new UserError(`expected the config of a diffusion model, got system: ${config.system}`);
  return { system, network };
}

/** The images of `indices` as a batch on a device, augmented where `augmentWith` gives the streams to draw from. */
export function readBatch(
  source: ImageSource,
  indices: ArrayLike<number>,
  o: { readonly config: Config; readonly device: string; readonly augmentWith?: Streams },
): Batch {
  const bytes = new Uint8Array(indices.length * imageBytes(source.shape));
  source.read(indices, bytes);
  let condition: Float32Array | undefined;
  const kind = o.config.data.augment;
  if (kind !== "none" && o.augmentWith) {
    const generator = o.augmentWith.generator("augment");
    const draws = scope(() =>
      rand([indices.length * drawsPerImage], generator, { dtype: "float64" }).toTypedArray(),
    ) as Float64Array;
    const applied = augment(bytes, source.shape, kind, draws);
    if (o.config.model.condition === "augmentation") condition = applied;
  }
  const { labels } = source;
  if (o.config.model.condition === "class" && labels)
    condition = Float32Array.from(
      { length: indices.length },
      (_, i) => labels[indices[i] as number] as number,
    );
  const pixels = fromTypedArray(bytes, [indices.length, ...source.shape]).toDevice(o.device);
  return condition
    ? { pixels, condition: fromTypedArray(condition, [indices.length]).toDevice(o.device) }
    : { pixels };
}

/** A pass outside training: dropout off. */
export function evaluationPass(machine: Machine): Pass {
  return { precision: machine.precision };
}
