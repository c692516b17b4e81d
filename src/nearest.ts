/** "Did you mean ...?" for every place where a user names a thing. */
import { distance } from "fastest-levenshtein";

/** `: did you mean "train.steps"?` where one of `known` is close to `name`, else the list of what is known. */
export function didYouMean(name: string, known: readonly string[]): string {
  const best = known
    .map((candidate) => ({ candidate, far: distance(name.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.far - b.far)[0];
  if (best && best.far <= Math.max(2, Math.floor(name.length / 3)))
    return `: did you mean "${best.candidate}"?`;
  return known.length > 0 ? `; known: ${[...known].sort().join(", ")}` : "";
}
