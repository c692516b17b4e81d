/** What may be asked of the metrics of samples. */
import type { Split } from "../data/index.js";
import { UserError } from "../errors.js";

export interface QualitySettings {
  /** How many images are drawn. */
  readonly samples: number;
  /** One of `samplerNames`; the config's where absent. */
  readonly sampler?: string | undefined;
  /** The split that samples are compared with. */
  readonly reference: Split;
  /** Images of it, evenly spread; all where absent. */
  readonly referenceImages?: number | undefined;
  /** `inception`, a classifier's run or a file; what is there where absent. */
  readonly features?: string | undefined;
  /** Whether as many real images are measured too, which shows what no model can fall below. */
  readonly floor: "measured" | "none";
  /** Whether the samples stay when the result is written. */
  readonly keepSamples: "kept" | "removed";
}

export const defaultQuality = {
  samples: 1000,
  reference: "train",
  floor: "measured",
  keepSamples: "removed",
} as const satisfies QualitySettings;

/** The numbers that can be asked for one by one. */
export const qualityParts = ["fid", "sfid", "is", "precision-recall", "prd"] as const;

export type QualityPart = (typeof qualityParts)[number];

export function isQualityPart(name: string): name is QualityPart {
  return (qualityParts as readonly string[]).includes(name);
}

/** Fewer have no balls of three neighbours, and no covariance to speak of. */
const fewest = 5;

/** @throws UserError for too few images */
export function checkSamples(samples: number, option: string): void {
  if (samples < fewest)
    throw new UserError(`expected at least ${fewest} images for ${option}, got ${samples}`);
}
