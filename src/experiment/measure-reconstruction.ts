/** The metric `reconstruction`: how well a run brings noised images back, also those of another data set. */
import { chainSamplerNamed } from "../diffusion/chain/chain-samplers.js";
import { hasReconstruction } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { showEstimate } from "./measure-bits.js";
import type { Measurement, MeasureRequest } from "./metric.js";
import { openOtherSet } from "./other-images.js";
import { noiseToRemove, reconstructionWork, usualWayBack } from "./reconstruction.js";
import { subjectOf } from "./subject.js";
import type { Trained } from "./trained.js";

/** What may be asked of it. */
export interface ReconstructionSettings {
  /** Variance of the noise; where absent that of the run's own denoiser, or 0.1. */
  readonly at?: number | undefined;
  /** One of `chainSamplerNames`; default `ancestral`. */
  readonly sampler?: string | undefined;
  /** Another data set than the run's. */
  readonly data?: string | undefined;
  /** Where that one lies. */
  readonly dataPath?: string | undefined;
}

/** @throws UserError for a system that is no chain, noise that it cannot remove, and images that do not fit */
export async function reconstructionMeasurement(
  trained: Trained,
  request: MeasureRequest,
): Promise<Measurement> {
  const { system, config } = trained;
  if (!hasReconstruction(system))
    throw new UserError(
      `expected a system of discrete steps (ddgm, daed) for the metric reconstruction, got ${config.system}`,
    );
  if (request.steps !== undefined)
    throw new UserError("expected no --steps for the metric reconstruction: it takes all steps on the way");
  const { at, sampler = usualWayBack, data, dataPath } = request.reconstruction ?? {};
  if (dataPath !== undefined && data === undefined)
    throw new UserError("expected the name of a data set with --data-path, got none: add --data NAME");
  chainSamplerNamed(sampler);
  const asked = noiseToRemove([system], at);
  const start = system.reconstructionStart(asked);
  const split = request.split ?? config.data.evaluationSplit;
  const other =
    data === undefined
      ? undefined
      : await openOtherSet(config, system.shape as [number, number, number], {
          set: { name: data, path: dataPath },
          split,
        });
  const adaptation = other?.adaptation ?? "none";
  const subject = await subjectOf(trained, request, {
    metric: "reconstruction",
    dequantisation: "none",
    ...(other ? { source: other } : {}),
    options: {
      ...{ at: asked, index: start.index, beta: start.beta, sampler, adaptation },
      choice: "evenly spread",
    },
    variant: [`at${asked}`, ...(sampler === usualWayBack ? [] : [sampler]), ...(data ? [`on-${data}`] : [])],
  });
  const { name, facts, machine, passes, words } = subject;
  const { length } = subject.source;
  const work = reconstructionWork({ ...subject, system, length, start, sampler });
  const calls = start.index + 1;
  return {
    ...{ name, facts, machine },
    pieces: work.pieces,
    measure: work.measure,
    summarise(measured) {
      const { mae, msSsim } = work.summarise(measured);
      const summary = [
        `${showEstimate(mae)} mean absolute error of images brought back, on the scale [-1, 1] (mean +- standard error)`,
        `  MS-SSIM         ${showEstimate(msSsim)}`,
        `  from noise of variance ${start.beta.toPrecision(4)}, ${calls} ${calls === 1 ? "step" : `steps of ${sampler}`}`,
        `  ${words}, ${passes} ${passes === 1 ? "pass" : "passes"}`,
        `  images evenly spread over the split${adaptation === "none" ? "" : `, ${adaptation}`}`,
      ].join("\n");
      return { summary, values: { mae, msSsim } };
    },
  };
}
