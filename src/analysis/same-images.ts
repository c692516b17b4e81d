/** Runs that are compared are shown the same images. */
import { UserError } from "../errors.js";
import type { FigureImages, FigureSubject } from "./figure.js";

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
