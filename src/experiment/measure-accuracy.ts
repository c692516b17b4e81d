/** The metric `accuracy`: how often a classifier is right, and how sure it is of what is. */

import type { ImageModel } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { Classifier } from "../systems/classifier.js";
import { noGrad, scope } from "../torch/index.js";
import { estimate } from "./evaluation.js";
import { showEstimate } from "./measure-bits.js";
import type { Measurement, MeasureRequest } from "./metric.js";
import { subjectOf } from "./subject.js";
import type { Trained } from "./trained.js";
import { cutInPieces } from "./work.js";

/** `sqrt(p (1 - p) / n)`, the standard error of a part `p` of `n` independent images. */
export function binomialError(part: number, images: number): number {
  return Math.sqrt((part * (1 - part)) / images);
}

/** @throws UserError for the run of anything but a classifier. */
export async function accuracyMeasurement(
  trained: Trained<ImageModel>,
  request: MeasureRequest,
): Promise<Measurement> {
  const { system, config, run } = trained;
  if (!(system instanceof Classifier))
    throw new UserError(
      `expected the run of a classifier for the metric accuracy, got ${run.dir}, a ${config.system}`,
    );
  const senseless = (["steps", "passes"] as const).find((name) => request[name] !== undefined);
  if (senseless !== undefined)
    throw new UserError(
      `expected no --${senseless} for the metric accuracy, which draws nothing: leave it out`,
    );
  const subject = await subjectOf(trained, request, { metric: "accuracy", dequantisation: "none", draws: 1 });
  const { name, facts, machine, images, batchSize, pass, words } = subject;
  return {
    ...{ name, facts, machine },
    pieces: cutInPieces({ part: "accuracy", images, batchSize, passes: 1 }),
    measure: ({ indices }) =>
      scope(() =>
        noGrad(() => {
          const { crossEntropy, accuracy } = system.judge(subject.readBatch(indices), pass);
          return { crossEntropy: crossEntropy.toArray(), right: accuracy.toArray() };
        }),
      ),
    summarise(measured) {
      const all = (name: string) => measured.flatMap(({ numbers }) => numbers[name] ?? []);
      const mean = all("right").reduce((sum, right) => sum + right, 0) / images;
      const accuracy = { mean, standardError: binomialError(mean, images) };
      const crossEntropy = estimate(all("crossEntropy"));
      const summary = [
        `${showEstimate(accuracy)} of the classes are right (mean +- binomial standard error)`,
        `  cross-entropy   ${showEstimate(crossEntropy)} nats`,
        `  ${words}`,
      ].join("\n");
      return { summary, values: { accuracy, crossEntropy } };
    },
  };
}
