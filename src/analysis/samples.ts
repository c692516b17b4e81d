/** Figure `samples`: images drawn from the model. */
import { drawImages } from "../experiment/drawing.js";
import { imagePicture } from "../plot/index.js";
import { anySystem, defineFigure } from "./figure.js";

export const samples = defineFigure({
  name: "samples",
  summary: "a grid of images drawn from the model",
  needs: "weights",
  of: anySystem,
  async draw(context) {
    const { label, request } = context;
    const { steps, sampler } = context.sampling;
    const { images: count = context.sampling.count, columns } = request;
    const condition = await context.conditionOf(count);
    const { pixels } = await drawImages({
      ...context,
      count,
      steps,
      sampler,
      ...(condition ? { condition } : {}),
    });
    return {
      kind: "picture",
      ...(await imagePicture(pixels, { title: label, ...(columns === undefined ? {} : { columns }) })),
      settings: { images: count, steps, sampler },
    };
  },
});
