/** The user's view of all data sets: register, list, verify. */
import fs from "node:fs";
import { UserError } from "../errors.js";
import { catalogue, catalogued } from "./catalogue.js";
import { genericFormats } from "./formats.js";
import { type FoundBy, locate, registerDataset, registeredDatasets } from "./locate.js";
import { findDataset, openDataset } from "./open.js";
import {
  type ImageShape,
  type ImageSource,
  imageBytes,
  type OnProgress,
  type Split,
  splits,
} from "./source.js";

/** A data set as `listDatasets` reports it. */
export interface DatasetStatus {
  readonly name: string;
  readonly summary: string;
  /** Where it lies, if anywhere. */
  readonly found: string | undefined;
  readonly by: FoundBy | undefined;
  /** What to do to get it. */
  readonly howToGet: string;
}

/**
 * Registers the data set at `place` under `name`, in place of what was registered before; returns its absolute path.
 * @throws UserError where nothing readable lies there, or `name` is a known set that has another format.
 */
export async function addDataset(name: string, place: string): Promise<string> {
  if (!/^[\w][\w.-]*$/.test(name))
    throw new UserError(
      `expected a name of letters, digits, ".", "_" and "-" for the data set, got ${JSON.stringify(name)}`,
    );
  if (genericFormats.some((format) => format === name))
    throw new UserError(`"${name}" is the name of a format: choose a name for the data set itself`);
  if (!fs.existsSync(place))
    throw new UserError(`${place}: expected a data set, but there is no such file or folder`);
  const { path: absolute, format, entry } = findDataset(name, place);
  if ((await format.splits(absolute, entry?.rules)).length === 0)
    throw new UserError(`${place}: expected ${format.describes}, found nothing of the kind`);
  registerDataset(name, absolute);
  return absolute;
}

/** Every known and every registered data set, with where it lies. */
export function listDatasets(): DatasetStatus[] {
  const known = catalogue.filter(({ name }) => !genericFormats.some((format) => format === name));
  const own = Object.keys(registeredDatasets())
    .filter((name) => !catalogued(name))
    .map((name) => ({ name, summary: "registered by you", howToGet: `varidiff data add ${name} PATH` }));
  return [...known, ...own].map(({ name, summary, howToGet }) => {
    const { found } = locate(name);
    return { name, summary, found: found?.path, by: found?.by, howToGet };
  });
}

/** What reading every image of one split has shown. */
export interface SplitReport {
  readonly split: Split;
  readonly images: number;
  readonly shape: ImageShape;
  readonly fingerprint: string;
  /** The mean of `(2 (v + 1/2) / 256 - 1)^2` over all bytes `v`: the second moment of the data as VDM scales it. */
  readonly meanSquare: number;
  /** Images of each class, by its name or else its number; empty without labels. */
  readonly classCounts: Readonly<Record<string, number>>;
}

export interface DatasetReport {
  readonly name: string;
  readonly path: string;
  readonly format: string;
  readonly splits: readonly SplitReport[];
}

export interface CheckOptions {
  readonly path?: string | undefined;
  readonly size?: number | undefined;
  readonly variant?: string | undefined;
  readonly onProgress?: (split: Split, done: number, total: number) => void;
}

/** Opens every split of a data set and reads every image once. @throws UserError at the first damage. */
export async function checkDataset(name: string, options: CheckOptions = {}): Promise<DatasetReport> {
  const { path: place, format, entry } = findDataset(name, options.path);
  const { size, variant } = options;
  const present = await format.splits(place, entry?.rules);
  const reports: SplitReport[] = [];
  for (const split of splits.filter((each) => present.includes(each))) {
    const onProgress: OnProgress = (done, total) => options.onProgress?.(split, done, total);
    const source = await openDataset({ name, path: place, split, size, variant, onProgress });
    reports.push(report(source));
  }
  if (reports.length === 0)
    throw new UserError(`${place}: expected images of data set "${name}", found none`);
  return { name, path: place, format: format.name, splits: reports };
}

function report(source: ImageSource): SplitReport {
  const { split, length, shape, fingerprint, labels, classes } = source;
  const counts = new Array<number>(256).fill(0);
  const image = new Uint8Array(imageBytes(shape));
  for (let index = 0; index < length; index++) {
    source.read([index], image);
    for (const value of image) counts[value] = (counts[value] ?? 0) + 1;
  }
  const squares = counts.reduce((sum, count, value) => sum + count * ((2 * (value + 0.5)) / 256 - 1) ** 2, 0);
  const classCounts: Record<string, number> = {};
  for (const label of labels ?? []) {
    const name = classes?.[label] ?? String(label);
    classCounts[name] = (classCounts[name] ?? 0) + 1;
  }
  return {
    split,
    images: length,
    shape,
    fingerprint,
    meanSquare: squares / (length * image.length),
    classCounts,
  };
}
