/** Figure `toy-examples`: what denoisers make of images unlike any that they were trained on (DAED, figure 6). */
import { fromTypedArray, scope } from "../torch/index.js";
import { defineFigure } from "./figure.js";
import { denoisingSystem, drawGallery } from "./reconstructing.js";
import { toyImages, toyShapes } from "./toy-images.js";

export const toyExamples = defineFigure({
  name: "toy-examples",
  summary: "simple shapes, noised, and brought back by this run and those of --with from the same noise",
  needs: "weights",
  of: denoisingSystem,
  async draw(context) {
    const { device } = context;
    const shape = context.system.shape as [number, number, number];
    const names = Object.keys(toyShapes);
    return drawGallery(context, {
      figure: "toy-examples",
      title: "Simple shapes brought back from noise",
      names,
      async batchFor({ conditionOf }) {
        const condition = await conditionOf(names.length);
        return scope(() => {
          const pixels = fromTypedArray(toyImages(shape), [names.length, ...shape]).toDevice(device);
          return condition
            ? { pixels, condition: fromTypedArray(condition, [names.length]).toDevice(device) }
            : { pixels };
        });
      },
    });
  },
});
