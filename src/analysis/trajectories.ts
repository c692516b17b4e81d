/** Figure `trajectories`: images on their way from noise. */
import { type Drawn, drawImages } from "../experiment/drawing.js";
import { imagePicture, type Picture } from "../plot/index.js";
import { anySystem, defineFigure } from "./figure.js";

/** For each of the first `count` images a row of latents above a row of the images predicted from them. */
export function trajectoryGrid(
  { latents, predictions, times }: NonNullable<Drawn["trajectory"]>,
  count: number,
  title: string,
): Promise<Picture> {
  const { channels, height, width } = latents;
  const row = times.length * channels * height * width;
  const data = new Uint8Array(2 * count * row);
  for (let i = 0; i < count; i++) {
    data.set(latents.data.subarray(i * row, (i + 1) * row), 2 * i * row);
    data.set(predictions.data.subarray(i * row, (i + 1) * row), (2 * i + 1) * row);
  }
  return imagePicture(
    { data, count: 2 * count * times.length, channels, height, width },
    {
      columns: times.length,
      columnLabels: times.map((t) => `t = ${t.toFixed(2)}`),
      rowLabels: Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? "z" : "x from z")),
      title,
    },
  );
}

export const trajectories = defineFigure({
  name: "trajectories",
  summary: "images on their way from noise, with what the model predicts from each",
  needs: "weights",
  of: anySystem,
  async draw(context) {
    const { label, request } = context;
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
    const title = `From noise to image: ${label}; ${sampler}, T = ${steps}`;
    return {
      kind: "picture",
      ...(await trajectoryGrid(trajectory, count, title)),
      settings: { images: count, frames, steps, sampler },
    };
  },
});
