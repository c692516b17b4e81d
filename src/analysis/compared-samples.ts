/** Figure `compared-samples`: images of several runs drawn from the same noise (DiffEnc, figure 3). */
import { drawImages } from "../experiment/drawing.js";
import { imagePicture, type Pixels } from "../plot/index.js";
import { ColdWalk } from "../systems/cold-walk.js";
import { anySystem, defineFigure, type FigureContext, type FigureSubject } from "./figure.js";
import { sameShape } from "./same-images.js";

/**
 * Images of each model, with one z_1, one noise for each step and one sampler for all of them.
 * @throws UserError where their images differ in shape
 */
export async function drawnAlike(
  models: readonly FigureSubject[],
  count: number,
  context: FigureContext,
): Promise<readonly Pixels[]> {
  const { sampling, onProgress } = context;
  sameShape(models);
  const { steps, sampler } = sampling;
  const drawn: Pixels[] = [];
  for (const model of models) {
    const condition = await model.conditionOf(count);
    const { pixels } = await drawImages({
      ...{ ...context, system: model.system, count, steps, sampler },
      ...(condition ? { condition } : {}),
      onProgress: (done, total) => onProgress?.(drawn.length * total + done, models.length * total),
    });
    drawn.push(pixels);
  }
  return drawn;
}

/** Draws a row of images for each run; those of a column began with the same noise. */
export const comparedSamples = defineFigure({
  name: "compared-samples",
  summary: "images of several runs from the same noise, a row each (--with RUN)",
  needs: "other runs",
  of: anySystem,
  async draw(context) {
    const models: readonly FigureSubject[] = [context, ...context.others];
    const count = context.request.images ?? 13;
    const { steps, sampler } = context.sampling;
    const drawn = await drawnAlike(models, count, context);
    const names = models.map(({ name }) => name);
    const shared = models.some(({ system }) => system instanceof ColdWalk) ? "draws" : "noise";
    const labels = models.map(({ label }) => label);
    const [{ channels, height, width }] = drawn as [Pixels];
    const { svg, png } = await imagePicture(
      {
        data: Buffer.concat(drawn.map(({ data }) => data)),
        count: models.length * count,
        ...{ channels, height, width },
      },
      {
        columns: count,
        rowLabels: new Set(names).size === names.length ? names : labels,
        title: `From the same ${shared}: ${sampler}, T = ${steps}`,
      },
    );
    const size = channels * height * width;
    const rows = drawn.flatMap(({ data }, m) =>
      Array.from({ length: count }, (_, image) => {
        const own = data.subarray(image * size, (image + 1) * size);
        return { run: labels[m] ?? "", image, meanPixel: own.reduce((sum, value) => sum + value / size, 0) };
      }),
    );
    return { kind: "picture", png, svg, rows, settings: { images: count, runs: labels, steps, sampler } };
  },
});
