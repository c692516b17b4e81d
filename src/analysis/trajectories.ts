/** Figure `trajectories`: samples on their way. */
import type { DiffusionSystem } from "../diffusion/system.js";
import { drawImages, type Trajectory } from "../experiment/drawing.js";
import { type Picture, type Pixels, stripPicture } from "../plot/index.js";
import { ColdWalk } from "../systems/cold-walk.js";
import { anySystem, defineFigure } from "./figure.js";

/** Where samples come from and go to, to begin a title with. */
export function wayOf(system: DiffusionSystem): string {
  const isNoise = !(system instanceof ColdWalk) || system.degradation.noiseDeviation;
  return isNoise ? "From noise to image" : "From degraded to clean";
}

/** `k = 6` of degradations, `t = 0.50` of what has a time. */
export function stateLabels({ times, levels }: Pick<Trajectory, "times" | "levels">): readonly string[] {
  return levels?.map((k) => `k = ${k}`) ?? times.map((t) => `t = ${t.toFixed(2)}`);
}

/** Most states of a sequence of samples. */
const MOST_STATES = 12;

/** How many states of so many steps a sequence shows: all of a short way, and of a longer one these, evenly spread. */
export function sequenceFrames(steps: number): number {
  return steps <= MOST_STATES ? steps + 1 : MOST_STATES;
}

/** One batch in which each of the first `count` images of the one stands before that of the other. */
function alternating(one: Pixels, other: Pixels, count: number): Pixels {
  const size = one.data.length / one.count;
  const of = ({ data }: Pixels, i: number) => data.subarray(i * size, (i + 1) * size);
  const pairs = Array.from({ length: count }, (_, i) => [of(one, i), of(other, i)]).flat();
  return { ...one, data: Buffer.concat(pairs), count: 2 * count };
}

/** The first `count` images of a batch. */
export function firstImages(pixels: Pixels, count: number): Pixels {
  return { ...pixels, data: pixels.data.subarray(0, (count * pixels.data.length) / pixels.count), count };
}

/** For each of the first `count` images a row of states above a row of the images predicted from them, if there are some. */
export function trajectoryGrid(trajectory: Trajectory, count: number, title: string): Promise<Picture> {
  const { states, predictions, levels } = trajectory;
  const columnLabels = stateLabels(trajectory);
  if (!predictions)
    return stripPicture(
      states.map((state) => firstImages(state, count)),
      { columnLabels, title },
    );
  const [of, predicted] = levels ? ["state", "predicted"] : ["z", "x from z"];
  return stripPicture(
    states.map((state, i) => alternating(state, predictions[i] as Pixels, count)),
    {
      columnLabels,
      rowLabels: Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? of : predicted) as string),
      title,
    },
  );
}

export const trajectories = defineFigure({
  name: "trajectories",
  summary: "samples on their way, with the images that the model predicts from them where it predicts some",
  needs: "weights",
  of: anySystem,
  async draw(context) {
    const { label, request, system } = context;
    const { steps, sampler } = context.sampling;
    const count = request.images ?? 4;
    const frames = request.times ?? 10;
    const condition = await context.conditionOf(count);
    const { trajectory } = await drawImages({
      ...context,
      count,
      steps,
      sampler,
      frames,
      ...(condition ? { condition } : {}),
    });
    if (!trajectory) throw new Error("expected a trajectory of the images drawn");
    const title = `${wayOf(system)}: ${label}; ${sampler}, T = ${steps}`;
    return {
      kind: "picture",
      ...(await trajectoryGrid(trajectory, count, title)),
      settings: { images: count, frames, steps, sampler },
    };
  },
});
