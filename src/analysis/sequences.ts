/** Figure `sequences`: samples at the levels that they come through, from full degradation to the image. */
import { drawImages } from "../experiment/drawing.js";
import { stripPicture } from "../plot/index.js";
import { coldSystem } from "./cold-walks.js";
import { defineFigure } from "./figure.js";
import { stateLabels, wayOf } from "./trajectories.js";

const IMAGES = 4;
/** Steps up to which all states are shown, and how many are of longer walks. */
const MOST = 12;

export const sequences = defineFigure({
  name: "sequences",
  summary: "samples at every level from full degradation to the image",
  needs: "weights",
  of: coldSystem,
  async draw(context) {
    const { label, request, system } = context;
    const { steps, sampler } = context.sampling;
    const count = request.images ?? IMAGES;
    const frames = request.times ?? (steps > MOST ? MOST : steps + 1);
    const { trajectory } = await drawImages({ ...context, count, steps, sampler, frames });
    if (!trajectory) throw new Error("expected the states of the images drawn");
    const { states, levels } = trajectory;
    const { svg, png } = await stripPicture(states, {
      columnLabels: stateLabels(trajectory),
      title: `${wayOf(system)}: ${label}; ${sampler}, ${steps} steps`,
    });
    const size = (states[0]?.data.length ?? 0) / count;
    const rows = states.flatMap(({ data }, state) =>
      Array.from({ length: count }, (_, image) => {
        const own = data.subarray(image * size, (image + 1) * size);
        const meanPixel = own.reduce((sum, value) => sum + value / size, 0);
        return { image, level: levels?.[state] ?? Number.NaN, meanPixel };
      }),
    );
    return { kind: "picture", png, svg, rows, settings: { images: count, levels, steps, sampler } };
  },
});
