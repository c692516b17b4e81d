/** Samplers by name. A new one is a file and a line here. */
import { UserError } from "../../errors.js";
import { didYouMean } from "../../nearest.js";
import { chainSamplerNames } from "../chain/chain-samplers.js";
import { coldSamplerNames } from "../cold/cold-samplers.js";
import { ancestral, clippedAncestral } from "./ancestral.js";
import { ddim } from "./ddim.js";
import { flowSampler } from "./flow.js";
import { reverseSde } from "./reverse-sde.js";
import type { GaussianSampler } from "./step.js";

export { ancestral, clippedAncestral } from "./ancestral.js";
export { ddim } from "./ddim.js";
export { type SampleOptions, sample } from "./driver.js";
export { type FlowImages, type FlowSamplingOptions, flowSampler, sampleFlow } from "./flow.js";
export { reverseSde } from "./reverse-sde.js";
export type { GaussianSampler, Prediction, SamplerStep } from "./step.js";
export { thresholded } from "./threshold.js";

const samplers: Readonly<Record<string, GaussianSampler>> = {
  ancestral,
  "ancestral-clipped": clippedAncestral,
  ddim,
  "reverse-sde": reverseSde,
};

/** Of Gaussian processes in continuous time, of discrete chains, and of degradations. */
export const samplerNames: readonly string[] = [
  ...new Set([...Object.keys(samplers), flowSampler, ...chainSamplerNames, ...coldSamplerNames]),
];

/** @throws UserError with the nearest name. */
export function checkSampler(name: string): void {
  if (!samplerNames.includes(name))
    throw new UserError(`expected a sampler, got "${name}"${didYouMean(name, samplerNames)}`);
}

/**
 * A sampler of single steps.
 * @throws UserError with the nearest name, or for the one that chooses its own steps
 */
export function samplerNamed(name: string): GaussianSampler {
  checkSampler(name);
  const sampler = samplers[name];
  if (!sampler) {
    const what =
      name === flowSampler
        ? "takes steps of its own"
        : coldSamplerNames.includes(name)
          ? "is one of cold diffusion"
          : "is one of discrete chains";
    throw new UserError(
      `expected a sampler of steps (${Object.keys(samplers).join(", ")}), got "${name}", which ${what}`,
    );
  }
  return sampler;
}
