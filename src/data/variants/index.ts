/** All variants of data sets: adding one is a file and a line here. */
import { setImmediate as turn } from "node:timers/promises";
import { UserError } from "../../errors.js";
import { didYouMean } from "../../nearest.js";
import { cachedSource } from "../cache.js";
import { type ImageSource, imageBytes, type OnProgress } from "../source.js";
import { frequencyHalves, frequencySplit } from "./frequency.js";
import { intensityHalves } from "./intensity.js";
import type { Variant } from "./variant.js";

export type { Variant, VariantImage } from "./variant.js";

export const variants: readonly Variant[] = [frequencyHalves, frequencySplit, intensityHalves];

/** What a config may say: `none` is the data set itself. */
export const variantNames: readonly [string, ...string[]] = ["none", ...variants.map(({ name }) => name)];

/** Images between two turns of the event loop and reports of progress. */
const imagesAtOnce = 256;

/**
 * The variant of `source` that `variant` names, itself for `none`. It is made once and kept; it is called
 * `<source>/<variant>`, and as its images differ, so does its fingerprint.
 *
 * @throws UserError for a variant that is not known, and where it goes by classes and `source` has none
 */
export async function varied(
  source: ImageSource,
  { variant, onProgress }: { readonly variant: string; readonly onProgress?: OnProgress | undefined },
): Promise<ImageSource> {
  if (variant === "none") return source;
  const found = variants.find(({ name }) => name === variant);
  if (!found)
    throw new UserError(
      `expected a variant of the data, got "${variant}"${didYouMean(variant, variantNames)}`,
    );
  const { split, origin, shape, length, labels, classes, fingerprint } = source;
  if (found.byLabel && !labels)
    throw new UserError(
      `expected labels in data set "${source.name}" for data.variant ${variant}, found none: choose another variant`,
    );
  const identity = {
    ...{ name: `${source.name}/${variant}`, split, origin, files: [] },
    settings: { format: "variant", fingerprint, variant },
  };
  const parts = found.parts ?? [];
  const each = parts.length || 1;
  return cachedSource(identity, async (file) => {
    const size = imageBytes(shape);
    for (let index = 0; index < length; index++) {
      const pixels = new Uint8Array(size);
      source.read([index], pixels);
      for (const [k, made] of found.make({ pixels, shape, label: labels?.[index] }).entries())
        file.write(made, (index * each + k) * size);
      if ((index + 1) % imagesAtOnce !== 0 && index + 1 < length) continue;
      onProgress?.(index + 1, length);
      await turn();
    }
    if (parts.length === 0) return { shape, length, ...(labels && { labels }), ...(classes && { classes }) };
    const partLabels = Int32Array.from({ length: length * each }, (_, i) => i % each);
    return { shape, length: length * each, labels: partLabels, classes: parts };
  });
}
