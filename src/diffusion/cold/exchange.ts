/**
 * Latent exchange: an image is drawn with the latent of another at some of its levels, which shows what the latents of these
 * levels decide.
 */
import { UserError } from "../../errors.js";
import { stack, type Tensor } from "../../torch/index.js";

/** Levels at which the source's latent takes the place of the target's. */
export interface LatentExchange {
  readonly name: string;
  readonly levels: readonly number[];
}

/** One level after another, in the order of `levels`. */
export function singleExchanges(levels: readonly number[]): readonly LatentExchange[] {
  return levels.map((level) => ({ name: `k = ${level}`, levels: [level] }));
}

/** Levels k, the highest first, whose index t = k - 1 lies between two borders: `lower < t < upper`. */
export function levelsBetween({
  upper,
  lower,
}: {
  readonly upper: number;
  readonly lower: number;
}): readonly number[] {
  return Array.from({ length: Math.max(upper - lower - 1, 0) }, (_, i) => upper - i);
}

/**
 * Windows between evenly spaced borders of t, `b_i = round(T (1 - i / count))` down to `b_count = -1`; a border's own level
 * belongs to neither side, as in the authors' code (T = 200: 200, 150, 100, 50, -1).
 *
 * @throws UserError where there are more windows than levels to fill them
 */
export function windowedExchanges(levels: number, count: number): readonly LatentExchange[] {
  const most = Math.max(Math.floor(levels / 2), 1);
  if (count > most)
    throw new UserError(
      `expected at most ${most} windows over ${levels} levels, whose borders belong to none of them, got ${count}: ask for fewer`,
    );
  const border = (i: number) => (i === count ? -1 : Math.round(levels * (1 - i / count)));
  return Array.from({ length: count }, (_, i) => {
    const window = levelsBetween({ upper: border(i), lower: border(i + 1) });
    return { name: windowName(window), levels: window };
  });
}

function windowName(window: readonly number[]): string {
  const [highest, lowest] = [window[0], window.at(-1)];
  return highest === lowest ? `k = ${highest}` : `k = ${highest} .. ${lowest}`;
}

/**
 * The latents of a walk, one for each level from T down, `[B, T, L]`: those of `source` at the levels exchanged, and of
 * `target` at all others.
 *
 * @param latents `[B, L]`, or one for each level from T down, `[B, T, L]`
 */
export function exchangedLatents(
  { target, source }: { readonly target: Tensor; readonly source: Tensor },
  o: { readonly levels: number; readonly exchanged: readonly number[] },
): Tensor {
  const atStep = (latents: Tensor, step: number) => (latents.rank === 2 ? latents : latents.select(1, step));
  return stack(
    Array.from({ length: o.levels }, (_, step) =>
      atStep(o.exchanged.includes(o.levels - step) ? source : target, step),
    ),
    1,
  );
}
