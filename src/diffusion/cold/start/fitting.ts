/** What laws that are fitted to training images have in common: reading the images, and taking back what was kept. */
import { setImmediate as turn } from "node:timers/promises";
import { UserError } from "../../../errors.js";
import { noGrad, type Shape, scope, type Tensor } from "../../../torch/index.js";
import type { TrainingImages } from "./start.js";

/**
 * Shows `visit` all images in float64, batch by batch, without gradients and in a scope of its own; others have their turn
 * in between.
 *
 * @throws Error where there are not as many as was said
 */
export async function eachBatch(images: TrainingImages, visit: (x: Tensor) => void): Promise<void> {
  let seen = 0;
  for (const x of images.batches()) {
    seen += x.dim(0);
    scope(() => noGrad(() => visit(x.to("float64"))));
    await turn();
  }
  if (seen !== images.count) throw new Error(`expected ${images.count} training images, got ${seen}`);
}

/** The error of a law that is asked for something before it is fitted to `what`. */
export function notFitted(what: string): UserError {
  return new UserError(
    `expected a start that is fitted to ${what}, got one that is not fitted yet: open the run by varidiff sample or ` +
      "evaluate where its data set is found (data.path, or VARIDIFF_DATA), which fits it once and keeps it",
  );
}

/**
 * A tensor of a kept state.
 *
 * @param shape -1 stands for any length
 * @throws UserError where it is not there, or of another shape
 */
export function keptTensor(state: ReadonlyMap<string, Tensor>, name: string, shape: Shape): Tensor {
  const found = state.get(name);
  const fits = found?.rank === shape.length && shape.every((n, i) => n === -1 || n === found.dim(i));
  if (found && fits) return found;
  const asked = shape.map((n) => (n === -1 ? "any" : n)).join(", ");
  throw new UserError(
    `expected ${name} [${asked}] of a fitted start, got ${found ?? "none"}: take the file of a run of the same model`,
  );
}
