/** Images of one data set for a model of another. */
import {
  catalogue,
  type FittedSource,
  fitted,
  type OnProgress,
  openDataset,
  type Split,
} from "../data/index.js";
import { UserError } from "../errors.js";
import type { Config } from "./config.js";

/** A data set, before a split of it is opened. */
export interface ImageSet {
  readonly name: string;
  readonly path?: string | undefined;
  /** Side of the square that its images are cropped and resized to, before they are fitted to a model. */
  readonly size?: number | undefined;
  readonly variant?: string | undefined;
}

/** Whether two descriptions are of the same images. */
export function sameSet(one: ImageSet, other: ImageSet): boolean {
  const variantOf = ({ variant = "none" }: ImageSet) => variant;
  return (
    one.name === other.name &&
    one.path === other.path &&
    one.size === other.size &&
    variantOf(one) === variantOf(other)
  );
}

/**
 * A split of `set`, its images fitted to `shape`, that of the model which `config` describes.
 * @throws UserError where it is not found or cannot be fitted, and for a model of classes, which another set has not
 */
export async function openOtherSet(
  config: Config,
  shape: readonly [number, number, number],
  o: { readonly set: ImageSet; readonly split: Split; readonly onProgress?: OnProgress | undefined },
): Promise<FittedSource> {
  const { set, split, onProgress } = o;
  if (config.model.condition === "class")
    throw new UserError(
      `expected a model without classes for the images of another data set, ${set.name}, got one of the classes of ${config.data.name}`,
    );
  const size = set.size ?? (comesInOtherSizes(set.name) ? shape[1] : undefined);
  return fitted(await openDataset({ ...set, size, split, onProgress }), shape, { onProgress });
}

/** Whether a known set has images of no usual shape, which are resized as they are decoded. */
function comesInOtherSizes(name: string): boolean {
  const entry = catalogue.find((each) => each.name === name);
  return entry !== undefined && !entry.shape && !entry.formats.some((format) => format === name);
}
