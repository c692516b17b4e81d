/** A new run that starts from the weights of another. */
import type { ImageModel } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { loadTensors } from "../torch/index.js";
import { newestWholeCheckpoint } from "./checkpoint-files.js";
import { openRun, type Run } from "./run-folder.js";

function openFrom(dir: string): Run {
  try {
    return openRun(dir);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`train.from: ${error.message}`, { cause: error });
  }
}

/**
 * Puts the averaged weights of the run in `dir` into the parameters of the same names; says how many, for the log.
 * @throws UserError where the run has no checkpoint, no parameter in common, or one of another shape
 */
export function startFrom(system: ImageModel, dir: string, { device }: { readonly device: string }): string {
  const { checkpoint } = newestWholeCheckpoint(openFrom(dir));
  const file = checkpoint?.files.ema;
  if (!checkpoint || !file)
    throw new UserError(
      `expected a whole checkpoint in the run of train.from, ${dir}, found none: train it first`,
    );
  const { tensors } = loadTensors(file);
  let taken = 0;
  let all = 0;
  for (const [name, parameter] of system.namedParameters()) {
    all += 1;
    const value = tensors.get(name);
    if (!value) continue;
    if (value.shape.join() !== parameter.shape.join())
      throw new UserError(
        `expected ${name} of shape [${parameter.shape.join(", ")}] in the run of train.from, ${dir}, got [${value.shape.join(", ")}]: it has another model`,
      );
    const there = value.toDevice(device, "float32");
    parameter.set(there);
    there.dispose();
    taken += 1;
  }
  for (const tensor of tensors.values()) tensor.dispose();
  if (taken === 0)
    throw new UserError(
      `expected a model with parameters in common in the run of train.from, ${dir}, found none`,
    );
  return `starting from step ${checkpoint.step} of ${dir}: ${taken} of ${all} parameters, the others are drawn`;
}
