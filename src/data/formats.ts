/** All storage formats: adding one is a file and a line here. */
import { UserError } from "../errors.js";
import { cifar } from "./cifar.js";
import type { Format } from "./format.js";
import { idx } from "./idx.js";
import { images } from "./images.js";
import { npz } from "./npz.js";
import { parquet } from "./parquet.js";

/** In the order in which they are tried on data of unknown format. */
export const formats = { npz, parquet, idx, cifar, images } as const satisfies Readonly<
  Record<string, Format>
>;
export type FormatName = keyof typeof formats;

/** The formats that a set of no known name may have: not CIFAR's, whose archive looks like any other. */
export const genericFormats: readonly FormatName[] = ["npz", "parquet", "idx", "images"];

/** The first of `candidates` that recognises what lies at `place`, which exists. */
export function recognise(place: string, candidates: readonly FormatName[]): Format | undefined {
  return candidates.map((name) => formats[name]).find((format) => format.recognises(place));
}

/** As `recognise`. @throws UserError saying what was expected at `place`. */
export function requireFormat(place: string, candidates: readonly FormatName[]): Format {
  const format = recognise(place, candidates);
  if (format) return format;
  const expected = candidates.map((name) => formats[name].describes).join("; or ");
  throw new UserError(`${place}: expected ${expected}; found nothing of the kind`);
}
