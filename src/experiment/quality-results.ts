/** What `evaluate --metrics quality` has found of a run, read back from its folder. */
import { quoted } from "./comparable.js";
import { evaluationDocuments } from "./evaluation-documents.js";
import type { Score } from "./quality.js";
import type { Run } from "./run-folder.js";

/** A number of samples, and what as many real images have in their place; null where it was not measured. */
export interface StoredScore extends Score {
  readonly floor: number | null;
}

/** The names that scores are stored under. */
const scoreNames = ["inceptionScore", "fid", "sfid", "precision", "recall"] as const;
export type ScoreName = (typeof scoreNames)[number];

/** What samples of a run were found to be worth in one setting. */
export interface QualityResult {
  /** Training steps of the weights. */
  readonly step: number;
  readonly ema: boolean;
  readonly samples: number;
  readonly sampler: string;
  /** Of sampling. */
  readonly steps: number;
  readonly seed: number;
  /** The network that images are compared in. */
  readonly features: {
    readonly name: string;
    readonly fingerprint: string;
    readonly standing: "inception" | "other";
  };
  /** The real images. */
  readonly reference: {
    readonly data: string;
    readonly fingerprint: string;
    readonly shape: readonly [number, number, number];
    readonly split: string;
    readonly images: number;
  };
  /** The real images that stood in the samples' place, where any did. */
  readonly floor: { readonly split: string; readonly images: number } | null;
  readonly scores: Readonly<Partial<Record<ScoreName, StoredScore>>>;
}

/**
 * The results of a run, the longest trained first; what was measured bit by bit in one setting is one result.
 * @throws UserError for a file that cannot be read or is no JSON
 */
export function readQuality(run: Pick<Run, "paths">): readonly QualityResult[] {
  const found = new Map<string, QualityResult>();
  for (const document of evaluationDocuments(run)) {
    if (document.metric !== "quality") continue;
    const { scores, ...setting } = resultOf(document as unknown as QualityDocument);
    const key = JSON.stringify(setting);
    found.set(key, { ...setting, scores: { ...found.get(key)?.scores, ...scores } });
  }
  return [...found.values()].sort((a, b) => b.step - a.step);
}

/** The documents of `evaluate --metrics quality`, as far as they are read here. */
type QualityDocument = Omit<QualityResult, "reference"> & {
  readonly data: {
    readonly name: string;
    readonly fingerprint: string;
    readonly shape: readonly [number, number, number];
  };
  readonly reference: { readonly split: string; readonly images: number };
};

function resultOf(document: QualityDocument): QualityResult {
  const { step, ema, samples, sampler, steps, seed, features, data, reference, floor, scores } = document;
  return {
    ...{ step, ema, samples, sampler, steps, seed, features },
    reference: { data: data.name, fingerprint: data.fingerprint, shape: data.shape, ...reference },
    floor,
    scores: Object.fromEntries(scoreNames.flatMap((name) => (scores[name] ? [[name, scores[name]]] : []))),
  };
}

/** The command that measures the run in `dir` as another was. */
export function qualityCommand(
  dir: string,
  like?: Pick<QualityResult, "samples" | "sampler" | "steps">,
): string {
  const options = like ? ` --samples ${like.samples} --sampler ${like.sampler} --steps ${like.steps}` : "";
  return `varidiff evaluate ${quoted(dir)} --metrics quality${options}`;
}
