/** How samples are drawn: what the config says, and what is usual for the model where it says nothing. */
import type { DiffusionSystem } from "../diffusion/system.js";
import type { Config } from "./config.js";

export interface Sampling {
  readonly count: number;
  readonly steps: number;
  readonly sampler: string;
}

/** Of systems that do not say. */
export const usualSteps = 250;

/** By the config's sampler, or by another. */
export function samplingOf(
  { sample }: Pick<Config, "sample">,
  system: DiffusionSystem,
  sampler = sample.sampler,
): Sampling {
  return { count: sample.count, sampler, steps: sample.steps ?? system.usualSteps?.(sampler) ?? usualSteps };
}
