/** An evaluation in parts: what is done is kept, what is missing is measured, and the last part writes the result. */
import fs from "node:fs";
import path from "node:path";
import { UserError } from "../errors.js";
import { explained, writeFileAtomic } from "../io/index.js";
import type { JsonObject } from "./checkpoint-files.js";
import { difference, Ledger, type Shard } from "./ledger.js";
import { type Measurement, type MetricResult, resultOf } from "./metric.js";
import { packageVersion } from "./provenance.js";
import { type Measured, measurePieces, type Piece, type WorkOptions, weightOf } from "./work.js";

export interface ShardRequest extends WorkOptions {
  /** Where parts and the result are written. */
  readonly folder: string;
  readonly shard: Shard;
  /** A line for people. */
  log(line: string): void;
}

export type ShardOutcome =
  | ({ readonly kind: "complete"; readonly file: string } & MetricResult)
  | {
      readonly kind: "incomplete";
      /** Shards that are not done, as in `2/4`. */
      readonly missing: readonly string[];
      readonly batchesDone: number;
      readonly batches: number;
    };

/**
 * Measures the pieces of a shard that no part holds yet, each kept as it is done; once all shards are done, writes
 * `<name>.json` and removes the parts. The result is the same number for number however it was cut and interrupted.
 *
 * @throws the signal's reason when it aborts: the same request then goes on; UserError when something cannot be written,
 *   and for numbers that are not finite, of which no result is written
 */
export async function evaluateShard(measurement: Measurement, request: ShardRequest): Promise<ShardOutcome> {
  const { folder, shard, log, signal } = request;
  const { name, facts, pieces } = measurement;
  const file = path.join(folder, `${name}.json`);
  const before = stampOf(file);
  const ledger = new Ledger(folder, {
    name,
    request: { ...facts, varidiff: packageVersion() },
    shard,
  });
  try {
    for (const note of ledger.notes) log(note);
    const own = pieces.filter((_, i) => i % shard.of === shard.index - 1);
    const rest = own.filter((piece) => {
      const entry = ledger.get(piece);
      return !entry || measurement.holds?.(piece, entry.numbers) === false;
    });
    if (rest.length < own.length)
      log(`going on: ${own.length - rest.length} of ${own.length} batches are done`);
    const total = weightOf(own);
    let done = total - weightOf(rest);
    if (rest.length > 0) request.onProgress?.(done, total);
    await measurePieces(measurement, rest, {
      signal,
      onPart: (images) => request.onProgress?.(done + images, total),
      done({ piece, numbers, seconds }) {
        ledger.append(piece, { numbers, seconds });
        done += piece.weight;
        request.onProgress?.(done, total);
      },
    });
  } finally {
    ledger.close();
  }

  const others = ledger.gather();
  const entries = pieces.flatMap((piece) => {
    const entry = ledger.get(piece);
    return entry ? [{ piece, ...entry }] : [];
  });
  if (entries.length < pieces.length) {
    const written = writtenMeanwhile(file, before, facts);
    if (written) return { kind: "complete", file, ...written };
    for (const line of others) log(line);
    const missing = missingShards(pieces, shard.of, (piece) => ledger.has(piece));
    return { kind: "incomplete", missing, batchesDone: entries.length, batches: pieces.length };
  }
  const lost = imagesNotFinite(entries).size;
  if (lost > 0) {
    ledger.remove();
    measurement.clean?.();
    throw new UserError(
      `expected finite numbers, got none for ${lost} of ${imagesOf(entries).size} images: the weights of step ${facts.step} have diverged; ` +
        "measure earlier ones by --checkpoint, or train anew with a smaller optimiser.learningRate or optimiser.clipNorm=1",
    );
  }
  const seconds = entries.reduce((sum, entry) => sum + entry.seconds, 0);
  const result = await resultOf(measurement, entries, seconds);
  writeFileAtomic(file, `${JSON.stringify(result.document, null, 2)}\n`);
  ledger.remove();
  measurement.clean?.();
  return { kind: "complete", file, ...result };
}

function imagesOf(entries: readonly Measured[]): ReadonlySet<number> {
  return new Set(entries.flatMap(({ piece }) => piece.indices));
}

/** Images of which a number is NaN or infinite. */
function imagesNotFinite(entries: readonly Measured[]): ReadonlySet<number> {
  const found = entries.flatMap(({ piece: { indices }, numbers }) => {
    const ofImages = Object.values(numbers).filter(({ length }) => length === indices.length);
    return indices.filter((_, i) => ofImages.some((values) => !Number.isFinite(values[i])));
  });
  return new Set(found);
}

function missingShards(pieces: readonly Piece[], of: number, has: (piece: Piece) => boolean): string[] {
  const missing = new Set<number>();
  for (const [i, piece] of pieces.entries()) if (!has(piece)) missing.add((i % of) + 1);
  return [...missing].sort((a, b) => a - b).map((index) => `${index}/${of}`);
}

/** Changes whenever a file is replaced. */
function stampOf(file: string): string | undefined {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  return stat && `${stat.ino} ${stat.mtimeMs}`;
}

/** The result, if another shard that ended at the same time has written it, and removed the parts, since `before`. */
function writtenMeanwhile(
  file: string,
  before: string | undefined,
  facts: JsonObject,
): MetricResult | undefined {
  const now = stampOf(file);
  if (now === undefined || now === before) return undefined;
  const document = JSON.parse(explained("read", file, () => fs.readFileSync(file, "utf8"))) as JsonObject;
  const asked = Object.fromEntries(Object.keys(facts).map((key) => [key, document[key] ?? null]));
  if (difference(asked, facts) !== undefined) return undefined;
  return { summary: `all parts are done: ${file}`, document };
}
