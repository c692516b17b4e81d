/** What a variant of a data set is: each of its images made into others. */
import type { ImageShape } from "../source.js";

/** An image as a variant sees it. */
export interface VariantImage {
  /** `[C, H, W]`; may be changed in place. */
  readonly pixels: Uint8Array;
  readonly shape: ImageShape;
  /** Its class number where the set has them; there for certain where the variant is `byLabel`. */
  readonly label: number | undefined;
}

export interface Variant {
  readonly name: string;
  /** What it makes of a set, in a few words. */
  readonly summary: string;
  /**
   * The images that each image becomes, by name: they follow one another in the set, and their names are its classes
   * in place of the source's. Absent: one image, which keeps its class.
   */
  readonly parts?: readonly string[];
  /** The variant goes by class numbers, so that a set without them has none. */
  readonly byLabel?: "yes";
  /** The images that `image` becomes, one or as many as there are parts, each of the same shape. */
  make(image: VariantImage): readonly Uint8Array[];
}
