/** Two sides measured in turns, so that what else the machine does falls on both alike. */

export interface Comparison {
  /** Median seconds. */
  readonly ours: number;
  readonly theirs: number | null;
  /** Theirs over ours, each round by itself: more than 1 where ours takes less time. */
  readonly ratio: number | null;
  /** The quartiles of the ratio. */
  readonly spread: readonly [number, number] | null;
}

/** The `p`-quantile of `values`, between two of them in proportion. */
function quantile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const place = p * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below] ?? Number.NaN;
  return low + (place - below) * ((sorted[below + 1] ?? low) - low);
}

/** Runs both sides `warmUp` times unseen, then `rounds` times in turns, the first one alternating. Each gives its seconds. */
export async function interleave(
  ours: () => Promise<number>,
  theirs: (() => Promise<number>) | null,
  options: { readonly rounds: number; readonly warmUp: number },
): Promise<Comparison> {
  const mine: number[] = [];
  const other: number[] = [];
  for (let i = 0; i < options.warmUp + options.rounds; i++) {
    const ourTurnFirst = i % 2 === 0;
    const early = ourTurnFirst ? await ours() : 0;
    const their = theirs ? await theirs() : 0;
    const our = ourTurnFirst ? early : await ours();
    if (i < options.warmUp) continue;
    mine.push(our);
    other.push(their);
  }
  if (!theirs) return { ours: quantile(mine, 0.5), theirs: null, ratio: null, spread: null };
  const ratios = other.map((seconds, i) => seconds / (mine[i] as number));
  return {
    ours: quantile(mine, 0.5),
    theirs: quantile(other, 0.5),
    ratio: quantile(ratios, 0.5),
    spread: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
  };
}

/** Seconds that `run` takes. */
export async function timed(run: () => Promise<void> | void): Promise<number> {
  const start = performance.now();
  await run();
  return (performance.now() - start) / 1000;
}
