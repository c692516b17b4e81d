/** Opens any data set by its name. */
import { UserError } from "../errors.js";
import { fileError } from "../io/files.js";
import { didYouMean } from "../nearest.js";
import { type CatalogueEntry, catalogue, catalogued } from "./catalogue.js";
import type { Format } from "./format.js";
import { genericFormats, requireFormat } from "./formats.js";
import { locate, notFound, registeredDatasets } from "./locate.js";
import { resized } from "./resize.js";
import type { ImageSource, OnProgress, Split } from "./source.js";
import { varied } from "./variants/index.js";

export interface DatasetRequest {
  /** A known or registered name, one of the formats `images`, `npz`, `idx`, `parquet`, or any name with a path. */
  readonly name: string;
  /** The file or folder that holds it; without it the usual places are searched. */
  readonly path?: string | undefined;
  readonly split: Split;
  /** Side of the square that every image is cropped and resized to. */
  readonly size?: number | undefined;
  /** One of `variantNames`, made of the images at their final size; default `none`. */
  readonly variant?: string | undefined;
  /** Called while images are decoded, which happens once. */
  readonly onProgress?: OnProgress | undefined;
}

/** A data set that was found, before a split of it is opened. */
export interface FoundDataset {
  readonly path: string;
  readonly format: Format;
  readonly entry: CatalogueEntry | undefined;
}

/**
 * Opens one split of a data set.
 * @throws UserError where it is not found, lacks the split, is damaged (naming file and place), or has images that
 *   need a `size`, or labels for a variant.
 */
export async function openDataset(request: DatasetRequest): Promise<ImageSource> {
  const { name, split, size, variant = "none", onProgress } = request;
  if (size !== undefined && !(Number.isInteger(size) && size > 0))
    throw new UserError(`expected a positive whole number as size of data set "${name}", got ${size}`);
  const { path, format, entry } = findDataset(name, request.path);
  try {
    // A set of known shape is read as it is, so that another set under its name is noticed, and resized afterwards.
    const sizeAtOnce = entry?.shape ? undefined : size;
    const source = await format.open({
      name,
      path,
      split,
      size: sizeAtOnce,
      onProgress,
      rules: entry?.rules,
    });
    if (entry?.shape && entry.shape.join() !== source.shape.join())
      throw new UserError(
        `${path}: expected ${entry.shape.join("x")} images of data set "${name}", found ${source.shape.join("x")}; ` +
          "give the right path, or another name",
      );
    const sized = size === undefined ? source : await resized(source, { size, onProgress });
    return await varied(sized, { variant, onProgress });
  } catch (error) {
    throw fileError("read", path, error);
  }
}

/** Finds a data set and its format. @throws UserError where there is none. */
export function findDataset(name: string, given?: string): FoundDataset {
  const entry = catalogued(name);
  const location = locate(name, given);
  if (!location.found) {
    const known = [...catalogue.map((each) => each.name), ...Object.keys(registeredDatasets())];
    if (!entry && given === undefined && !known.includes(name))
      throw new UserError(
        `unknown data set "${name}"${didYouMean(name, known)} (a set of your own needs its path, data.path)`,
      );
    throw notFound(name, location);
  }
  const { path } = location.found;
  try {
    return { path, format: requireFormat(path, entry?.formats ?? genericFormats), entry };
  } catch (error) {
    throw fileError("read", path, error);
  }
}
