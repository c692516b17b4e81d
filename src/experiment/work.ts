/** A measurement as work in pieces: which there are, how one is measured, and what all of them say together. */
import { setImmediate as turn } from "node:timers/promises";
import { UserError } from "../errors.js";

/** What was measured on a piece, by name: one number per image, or fewer where the name is not about images. */
export type Numbers = Readonly<Record<string, readonly number[]>>;

/** One draw of one batch: the smallest thing that is measured, kept or lost. */
export interface Piece {
  /** Which quantity, where a measurement has several. */
  readonly part: string;
  /** Which independent draw, from 0. */
  readonly pass: number;
  /** Which batch of images, from 0. */
  readonly batch: number;
  readonly indices: readonly number[];
  /** Images that it counts for in the progress. */
  readonly weight: number;
}

export interface Measured {
  readonly piece: Piece;
  readonly numbers: Numbers;
}

/** What a piece that takes long can use. */
export interface PieceOptions {
  readonly signal?: AbortSignal | undefined;
  /** The part of the piece that is done, up to 1. */
  onPart?(part: number): void;
}

export interface Work<R> {
  readonly pieces: readonly Piece[];
  /** The same numbers whenever and wherever it is asked, in any order. */
  measure(piece: Piece, options: PieceOptions): Numbers | Promise<Numbers>;
  /** Whether what a kept piece refers to, a file, is still there; where not, it is measured again. Default: it is. */
  holds?(piece: Piece, numbers: Numbers): boolean;
  /** What the numbers of all pieces say; `measured` is in the order of `pieces`. */
  summarise(measured: readonly Measured[]): R;
}

export interface WorkOptions {
  /** Images done, and images there are. */
  onProgress?(done: number, total: number): void;
  readonly signal?: AbortSignal | undefined;
}

/** Independent draws of images that a measurement can hold in memory, and say something of. */
const mostDraws = 20_000_000;

/** Every pass over the first `images` images, batch by batch. @throws UserError for more draws than can be held */
export function cutInPieces(o: {
  readonly part: string;
  readonly images: number;
  readonly batchSize: number;
  readonly passes: number;
}): readonly Piece[] {
  const { images, passes } = o;
  if (images * passes > mostDraws)
    throw new UserError(
      `expected at most ${mostDraws} draws of ${o.part}, got ${images} images times ${passes}: ask for fewer of either`,
    );
  const batches = Math.ceil(images / o.batchSize);
  return Array.from({ length: o.passes * batches }, (_, i) => {
    const batch = i % batches;
    const start = batch * o.batchSize;
    const weight = Math.min(o.batchSize, o.images - start);
    const indices = Array.from({ length: weight }, (_, k) => start + k);
    return { part: o.part, pass: Math.floor(i / batches), batch, indices, weight };
  });
}

/**
 * Measures `pieces` one after another, with a turn of the event loop between two, and hands over each as it is done.
 * @throws the signal's reason when it aborts
 */
export async function measurePieces(
  work: Pick<Work<unknown>, "measure">,
  pieces: readonly Piece[],
  o: {
    done(measured: Measured & { readonly seconds: number }): void;
    /** Images of the piece in hand that are done. */
    onPart?(images: number): void;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<void> {
  for (const piece of pieces) {
    o.signal?.throwIfAborted();
    const start = performance.now();
    const numbers = await work.measure(piece, {
      signal: o.signal,
      onPart: (part) => o.onPart?.(Math.floor(part * piece.weight)),
    });
    o.done({ piece, numbers, seconds: (performance.now() - start) / 1000 });
    await turn();
  }
}

/** Does all of it here and now, keeping nothing on the way. @throws the signal's reason when it aborts */
export async function doWork<R>(work: Work<R>, o: WorkOptions = {}): Promise<R> {
  const total = weightOf(work.pieces);
  const measured: Measured[] = [];
  let weight = 0;
  await measurePieces(work, work.pieces, {
    signal: o.signal,
    onPart: (images) => o.onProgress?.(weight + images, total),
    done(one) {
      measured.push(one);
      weight += one.piece.weight;
      o.onProgress?.(weight, total);
    },
  });
  return work.summarise(measured);
}

/** Images that the progress counts. */
export function weightOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { weight }) => sum + weight, 0);
}

/** The numbers of `name`, of each pass by image. */
export function numbersByPass(
  measured: readonly Measured[],
  name: string,
  images: number,
): readonly Float64Array[] {
  const passes: Float64Array[] = [];
  for (const { piece, numbers } of measured) {
    const values = passes[piece.pass] ?? new Float64Array(images);
    passes[piece.pass] = values;
    values.set(numbers[name] ?? [], piece.indices[0]);
  }
  return passes;
}
