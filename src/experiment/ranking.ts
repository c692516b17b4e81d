/** Runs by their bits/dim, as far as their numbers compare: the rule is that of `compare`. */
import { countingResult, readResult, settingOfMost, whyApart } from "./comparable.js";
import type { EvaluationDocument } from "./evaluation-documents.js";

/** A run's place in a ranking. */
export interface Place<D> {
  /** From 1, best first; absent where the run's results do not compare with those of most. */
  readonly rank?: number;
  /** The document that counts. */
  readonly document?: D;
  /** Why it has no rank: `was measured with images 2000 (others: 10000)`. */
  readonly apart?: string;
}

/** The place of each run, in the order given; `runs` are the documents of each, of bits/dim. */
export function ranking<D extends EvaluationDocument>(runs: readonly (readonly D[])[]): readonly Place<D>[] {
  const sources = runs.map((documents) => ({
    results: documents.map((document) => ({ ...readResult(document), document })),
  }));
  const most = settingOfMost(sources);
  if (!most) return runs.map(() => ({}));
  const counting = sources.map(({ results }) => countingResult(results, most.setting));
  const means = counting.flatMap((result) => (result ? [result.bitsPerDim.mean] : [])).sort((a, b) => a - b);
  return counting.map((result, i) => {
    if (result) return { rank: 1 + means.indexOf(result.bitsPerDim.mean), document: result.document };
    const apart = whyApart(sources[i]?.results ?? [], most.setting);
    return apart === undefined ? {} : { apart };
  });
}
