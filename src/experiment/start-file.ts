/** What the start of a run's samples was fitted to be: fitted once to the training images, and kept in the run. */
import fs from "node:fs";
import type { ImageSource } from "../data/index.js";
import type { TrainingImages } from "../diffusion/cold/start/start.js";
import { type DiffusionSystem, type ImageModel, isDiffusion, needsFitting } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { loadTensors, noGrad, saveTensors, scope } from "../torch/index.js";
import type { Config } from "./config.js";
import { type Machine, openSplit, readBatch } from "./experiment.js";
import type { Run } from "./run-folder.js";

/** A run whose samples are to be drawn: a `Trained`, or one in training. */
export interface StartOwner {
  readonly run: Run;
  readonly config: Config;
  readonly machine: Machine;
  readonly system: ImageModel;
}

export interface EnsureStartOptions {
  /** The train split, where it is open already. */
  readonly source?: ImageSource;
  readonly log?: ((line: string) => void) | undefined;
}

/** Images that are read at a time. */
const BATCH = 128;

/**
 * Takes the start that a run keeps. Nothing happens where it keeps none yet, and to a system that has no such start.
 * @throws UserError for a file that is damaged, or of another model
 */
export function restoreStart({ paths: { start: file } }: Run, system: ImageModel): void {
  if (!needsFitting(system) || !fs.existsSync(file)) return;
  try {
    const { tensors } = loadTensors(file);
    system.startFitting.restore(tensors);
    for (const tensor of tensors.values()) tensor.dispose();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(
      `cannot take the start of samples: ${error.message}; or delete ${file}, and it is fitted anew`,
      { cause: error },
    );
  }
}

/**
 * Sees to it that samples can be drawn and, of inverse heat dissipation, the bound be measured: the start of a system that
 * has one to be fitted is that of the run's file or, where there is none yet, fitted to all images of the train split, as
 * they are without augmentation, and written there. To other systems nothing happens.
 *
 * @throws UserError for a damaged file, for training images that are not there, and for a folder that cannot be written
 */
export async function ensureStart(
  { run, config, machine, system }: StartOwner,
  { source: given, log }: EnsureStartOptions = {},
): Promise<void> {
  if (!needsFitting(system) || !isDiffusion(system)) return;
  const { startFitting } = system;
  if (!startFitting.fitted) restoreStart(run, system);
  if (startFitting.fitted) return;
  const source = given ?? (await openTrainSplit(config, run));
  log?.(`fitting the start of samples to ${source.length} training images of ${source.name}`);
  await startFitting.fit(trainingImages(system, source, { config, device: machine.device }));
  const { name, fingerprint } = source;
  scope(() =>
    saveTensors(run.paths.start, Object.entries(startFitting.state()), {
      system: config.system,
      data: name,
      fingerprint,
      images: String(source.length),
    }),
  );
}

/** @throws UserError with what is needed of which data set, and why */
async function openTrainSplit(config: Config, run: Run): Promise<ImageSource> {
  try {
    return await openSplit(config, "train");
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(
      `expected the training images of ${run.dir}, as its samples start from what is fitted to them once: ${error.message}`,
      { cause: error },
    );
  }
}

function trainingImages(
  system: DiffusionSystem,
  source: ImageSource,
  o: { readonly config: Config; readonly device: string },
): TrainingImages {
  return {
    count: source.length,
    *batches() {
      for (let from = 0; from < source.length; from += BATCH) {
        const indices = Array.from({ length: Math.min(BATCH, source.length - from) }, (_, i) => from + i);
        const x = scope(() => noGrad(() => system.encode(readBatch(source, indices, o).pixels)));
        yield x;
        x.dispose();
      }
    },
  };
}
