/** Runs that are compared are shown the same images. */
import { UserError } from "../errors.js";
import type { FigureImages, FigureSubject } from "./figure.js";

/** @throws UserError where models make images of other shapes than the first, and so of other noise */
export function sameShape(models: readonly FigureSubject[]): void {
  const [first, ...others] = models;
  const shape = first?.system.shape.join(" x ");
  for (const { name, system } of others)
    if (system.shape.join(" x ") !== shape)
      throw new UserError(
        `expected runs of one image shape to draw from the same noise, got ${system.shape.join(" x ")} of ${name} ` +
          `beside ${shape} of ${first?.name}: leave it out`,
      );
}

/** The images of `subject`. @throws UserError unless they are those of `first` */
export async function sameImages(subject: FigureSubject, first: FigureImages): Promise<FigureImages> {
  const images = await subject.openImages();
  const { name, split, fingerprint } = images.source;
  if (fingerprint !== first.source.fingerprint)
    throw new UserError(
      `expected runs on one data set (${first.source.name} ${first.source.split}), got ${name} ${split} with ${subject.label}: leave that run out`,
    );
  return images;
}
