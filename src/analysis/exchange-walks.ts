/** What the figures of latent exchange share: which levels are exchanged, and the images of pairs of a target and a source. */
import {
  exchangedLatents,
  type LatentExchange,
  singleExchanges,
  windowedExchanges,
} from "../diffusion/cold/exchange.js";
import type { SharedBySamples } from "../diffusion/system.js";
import type { ColdState } from "../systems/cold-walk.js";
import type { VariationalColdDiffusion } from "../systems/vcd.js";
import { type Streams, type Tensor, tensor } from "../torch/index.js";
import { disposeStart, drawnStart, inScope, noiseOfStep, type Walk, walked } from "./cold-walks.js";
import type { FigureContext } from "./figure.js";

type Context = FigureContext<VariationalColdDiffusion>;

/** Levels up to which each has a column of its own. */
const MOST_SINGLE = 12;
/** Windows over more levels, as the authors have them. */
const WINDOWS = 4;

/** Each level that is visited by itself, or windows where they are asked for or levels are many. */
export function exchangesOf(
  visited: readonly number[],
  { system, request }: Pick<Context, "system" | "request">,
): readonly LatentExchange[] {
  const { levels } = system;
  if (request.times !== undefined) return windowedExchanges(levels, request.times);
  return visited.length > MOST_SINGLE ? windowedExchanges(levels, WINDOWS) : singleExchanges(visited);
}

/** The levels that samples are led back from, the highest first. */
export function visitedLevels({ system, sampling }: Pick<Context, "system" | "sampling">): readonly number[] {
  return system.levelsOf(sampling).visits.map(({ from }) => from);
}

/** All of the source's latents: its own image, where that begins as the target's does. */
export function allLevels(levels: number): LatentExchange {
  return { name: "all levels", levels: Array.from({ length: levels }, (_, i) => levels - i) };
}

/** The target's own image. */
export const noLevel: LatentExchange = { name: "no level", levels: [] };

/** Targets and sources, one a row of the batch. Its tensors are the caller's to free. */
export interface ExchangePairs extends Pick<Walk, "sampler" | "noise"> {
  /** States at level T, `[B, C, H, W]`: those of the targets. */
  readonly x: Tensor;
  /** `[B, L]`, or one for every level from T down, `[B, T, L]`. */
  readonly target: Tensor;
  readonly source: Tensor;
  readonly jump: number;
}

export function disposePairs({ x, target, source }: ExchangePairs): void {
  for (const tensor of new Set([x, target, source])) tensor.dispose();
}

/** What `see` makes of the images of pairs with the source's latents at the levels `exchanged`. */
export async function exchangedImages<R>(
  { system, pass, signal }: Pick<Context, "system" | "pass" | "signal">,
  pairs: ExchangePairs,
  o: { readonly exchanged: readonly number[]; see(images: Tensor): R },
): Promise<R> {
  const { levels } = system;
  const latents = inScope(() => exchangedLatents(pairs, { levels, exchanged: o.exchanged }));
  try {
    return await walked(system, pairs.x, { ...pairs, pass, signal, latents, see: o.see });
  } finally {
    latents.dispose();
  }
}

/** Which pairs: so many targets and sources, and the two of each row. */
export interface PairRows {
  readonly targets: number;
  readonly sources: number;
  readonly rows: readonly (readonly [target: number, source: number])[];
}

/**
 * Pairs with latents from the prior. Targets begin where samples drawn from `streams.at(0)` do, and have their noise; with
 * `shared` it is one start and one noise for all of them.
 */
export function drawnPairs(
  context: Pick<Context, "system" | "sampling" | "pass">,
  streams: Streams,
  { targets, sources, rows, shared }: PairRows & { readonly shared: readonly SharedBySamples[] },
): ExchangePairs {
  const ofTargets = drawnStart(context, { count: targets, streams: streams.at(0), shared });
  const ofSources = drawnStart(context, { count: sources, streams: streams.at(1) });
  try {
    const { sampler } = context.sampling;
    const { jump } = ofTargets;
    const x = inScope(() => selected(ofTargets.start, rows, 0));
    const noise = (i: number) =>
      shared.includes("noise")
        ? noiseOfStep(x, streams.at(0).at(i), 1).expand(x.shape)
        : selected(noiseOfStep(x, streams.at(0).at(i), targets), rows, 0);
    const latents = inScope(() => pairedLatents(latentsOf(ofTargets), latentsOf(ofSources), rows));
    return { ...latents, x, sampler, jump, noise };
  } finally {
    disposeStart(ofTargets);
    disposeStart(ofSources);
  }
}

/** The latents of every row. */
export function pairedLatents(
  targets: Tensor,
  sources: Tensor,
  rows: PairRows["rows"],
): Pick<ExchangePairs, "target" | "source"> {
  return { target: selected(targets, rows, 0), source: selected(sources, rows, 1) };
}

/** What belongs to the target (0) or the source (1) of every row. */
export function selected(all: Tensor, rows: PairRows["rows"], which: 0 | 1): Tensor {
  const chosen = tensor(
    rows.map((row) => row[which]),
    { dtype: "int64" },
  );
  return all.indexSelect(0, chosen.toDevice(all.device));
}

function latentsOf({ latents }: ColdState): Tensor {
  if (!latents) throw new Error("expected samples with latents");
  return latents;
}
