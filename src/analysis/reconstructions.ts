/** Figure `reconstructions`: images, the same noised, and what models bring back from that noise. */
import { scope } from "../torch/index.js";
import { nameOf, oneOfEachClass } from "./encoded.js";
import { defineFigure } from "./figure.js";
import { denoisingSystem, drawGallery } from "./reconstructing.js";
import { sameImages } from "./same-images.js";

function inBrackets(adaptation: string | undefined): string {
  return adaptation === undefined || adaptation === "none" ? "" : ` (${adaptation})`;
}

export const reconstructions = defineFigure({
  name: "reconstructions",
  summary: "images, noised, and brought back by this run and those of --with from the same noise",
  needs: "weights",
  of: denoisingSystem,
  async draw(context) {
    const first = await context.openImages();
    const { source, adaptation } = first;
    const indices = oneOfEachClass(source, context.request.images ?? 8);
    const drawing = await drawGallery(context, {
      figure: "reconstructions",
      title: `Brought back from noise: ${source.split} images of ${source.name}${inBrackets(adaptation)}`,
      names: indices.map((index) => nameOf(source, index)),
      async batchFor(run) {
        const images = await sameImages(run, first);
        return scope(() => images.read(indices));
      },
    });
    const settings = {
      ...drawing.settings,
      indices,
      split: source.split,
      ...(adaptation ? { adaptation } : {}),
    };
    return { ...drawing, settings };
  },
});
