/** The exact law of the k largest of logits plus Gumbel noise, for few enough subsets to list. */
import { fromTypedArray, type Tensor } from "../../torch/index.js";
import { logSubsets } from "./divergence.js";

/** The most subsets of one size that are listed. */
export const mostSubsets = 5000;

/** Whether the subsets of 0 .. m - 1 of every size up to k are few enough to list. */
export function canListSubsets(m: number, k: number): boolean {
  return logSubsets(m, Math.min(k, Math.floor(m / 2))) <= Math.log(mostSubsets);
}

/** All subsets of 0 .. m - 1 of size j, each ascending, in lexicographic order. */
export function subsetsOf(m: number, j: number): number[][] {
  const found: number[][] = [];
  const extend = (chosen: readonly number[], from: number): void => {
    if (chosen.length === j) found.push([...chosen]);
    else for (let i = from; i < m; i++) extend([...chosen, i], i + 1);
  };
  extend([], 0);
  return found;
}

/** A table of indices as an int64 tensor on `like`'s device. */
function indices(rows: readonly (readonly number[])[], like: Tensor): Tensor {
  const flat = BigInt64Array.from(rows.flat(), BigInt);
  return fromTypedArray(flat, [rows.length, rows[0]?.length ?? 0]).toDevice(like.device);
}

/** Columns of `x` `[B, n]` by a table `[r, c]` of indices: `[B, r, c]`. */
function columns(x: Tensor, table: Tensor): Tensor {
  return x.indexSelect(1, table.reshape([-1])).reshape([-1, ...table.shape]);
}

/**
 * Log-probabilities `[B, C(m, k)]`, float64, of the subsets in the order of `subsetsOf(m, k)`. Drawn one by one without
 * replacement, a set comes from each of its subsets with one element fewer:
 * `P(S) = sum_{i in S} P(S - i) exp(l_i) / sum_{j not in S - i} exp(l_j)`.
 *
 * @throws Error where there are more than 5000 subsets of some size up to k.
 */
export function logSubsetProbabilities(logits: Tensor, k: number): Tensor {
  const m = logits.dim(-1);
  if (!canListSubsets(m, k))
    throw new Error(`expected at most ${mostSubsets} subsets to list, got those of ${k} of ${m} entries`);
  const l = logits.to("float64");
  let before = subsetsOf(m, 0);
  let logP = l.narrow(1, 0, 1).mul(0); // the empty set, [B, 1]
  for (let j = 1; j <= k; j++) {
    const place = new Map(before.map((subset, i) => [subset.join(), i]));
    const subsets = subsetsOf(m, j);
    const without = subsets.map((subset) =>
      subset.map((_, r) => place.get(subset.filter((__, q) => q !== r).join()) ?? -1),
    );
    const outside = before.map((subset) =>
      Array.from({ length: m }, (_, i) => i).filter((i) => !subset.includes(i)),
    );
    const logRest = columns(l, indices(outside, l)).logSumExp([-1]); // [B, C(m, j - 1)]
    logP = columns(logP.sub(logRest), indices(without, l))
      .add(columns(l, indices(subsets, l)))
      .logSumExp([-1]);
    before = subsets;
  }
  return logP;
}

/** `KL(q || uniform) = sum_S q(S) (log q(S) + log C(m, k))` of the k largest of `logits` `[B, m]` plus Gumbel noise, `[B]`. */
export function plackettLuceDivergence(logits: Tensor, k: number): Tensor {
  const logQ = logSubsetProbabilities(logits, k);
  return logQ
    .exp()
    .mul(logQ.add(logSubsets(logits.dim(-1), k)))
    .sum([-1]);
}
