/** The steps of a sampler as work to be profiled. */
import { flowSampler } from "../diffusion/sampler/index.js";
import { type ImageModel, needsFitting } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { type DrawRequest, drawImages } from "./drawing.js";
import { type Profile, profileWork } from "./profile.js";
import type { Trained } from "./trained.js";

/** Images, where more are asked for: what `drawImages` draws at a time. */
const mostImages = 64;

/** Steps of a walk that are taken, from its start, before it is begun anew. */
const mostSteps = 5;

/** @throws UserError where the start of samples would have to be fitted, and written, first */
export function checkFitted({ system, run }: Pick<Trained<ImageModel>, "system" | "run">): void {
  if (needsFitting(system) && !system.startFitting.fitted)
    throw new UserError(
      `expected a run whose start of samples is fitted for --profile, which writes nothing, got ${run.dir}: draw from it once, with "varidiff sample ${run.dir} -n 1"`,
    );
}

/** Begins to draw, over and over. @throws UserError for a sampler that chooses its own steps, and as `profileWork` does */
export async function profileSampling(trained: Trained, request: DrawRequest): Promise<Profile> {
  const { sampler, shared } = request;
  if (sampler === flowSampler)
    throw new UserError(`expected a sampler of steps for --profile, got ${sampler}: name one with --sampler`);
  checkFitted(trained);
  const count = shared ? request.count : Math.min(request.count, mostImages);
  const steps = Math.min(request.steps, mostSteps);
  const { system, machine } = trained;
  return profileWork({
    ...{ system, machine, kind: "inference", unit: "image steps", step: "step", warmUp: 1 },
    name: `sampling by ${sampler}, batches of ${count}`,
    async take() {
      const enough = new AbortController();
      try {
        await drawImages({
          ...{ ...request, count, frames: 0, signal: enough.signal },
          onProgress(done) {
            if (done >= steps * count && steps < request.steps) enough.abort();
          },
        });
      } catch (error) {
        if (!enough.signal.aborted) throw error;
      }
      return { units: steps * count, steps };
    },
  });
}
