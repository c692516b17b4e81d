/** Figure `forward`: a few images on their way through the forward process. */
import { type DiffusionSystem, type ForwardView, hasForwardView } from "../diffusion/system.js";
import { visible } from "../experiment/drawing.js";
import { imagePicture } from "../plot/index.js";
import { ColdWalk } from "../systems/cold-walk.js";
import { full, noGrad, scope } from "../torch/index.js";
import { defineFigure, type Row } from "./figure.js";

/** Columns where no other number is asked for, and at most of degradations, which have no more than their levels. */
const COLUMNS = 10;

/** Where images are looked at, how that is called, and what is seen there. */
interface Stations {
  readonly times: readonly number[];
  /** Of degradations: k = T t of each. */
  readonly levels?: readonly number[];
  readonly labels: readonly string[];
  readonly title: string;
}

function stationsOf(system: DiffusionSystem, asked: number | undefined): Stations {
  if (!(system instanceof ColdWalk)) {
    const columns = asked ?? COLUMNS;
    const times = Array.from({ length: columns }, (_, i) => i / Math.max(1, columns - 1));
    return { times, labels: times.map((t) => `t = ${t.toFixed(2)}`), title: "From data to noise: z(t)" };
  }
  const { levels: T, degradation } = system;
  const columns = Math.min(asked ?? COLUMNS, T + 1);
  const levels = Array.from({ length: columns }, (_, i) => Math.round((i * T) / Math.max(1, columns - 1)));
  return {
    times: levels.map((k) => k / T),
    levels,
    labels: levels.map((k) => `k = ${k}`),
    title: degradation.noiseDeviation ? "From data to noise: x(k)" : "Degraded level by level: x(k)",
  };
}

/** Draws z_t of the first images at evenly spaced t, or x_k at levels k, both ends included; all of an image with the same noise. */
export const forward = defineFigure<DiffusionSystem & ForwardView>({
  name: "forward",
  summary: "test images along the forward process: noised at evenly spaced t, or degraded level by level",
  needs: "config",
  of: { fits: hasForwardView, words: "a system whose forward process can be drawn from" },
  async draw({ label, system, request, openImages, streams, device }) {
    const { source, read } = await openImages();
    const count = Math.min(request.images ?? 6, source.length);
    const { times, levels, labels, title } = stationsOf(system, request.times);
    const columns = times.length;
    const [channels, height, width] = source.shape;
    const size = channels * height * width;
    const data = new Uint8Array(count * columns * size);
    const rows: Row[] = [];
    const indices = Array.from({ length: count }, (_, i) => i);
    for (const [column, time] of times.entries()) {
      const { pixels, mean, deviation } = scope(() =>
        noGrad(() => {
          const t = full([count], time, { dtype: "float64", device });
          const z = system.noised(read(indices), t, streams.at(0));
          const values = z.flatten(1).to("float64");
          const mean = values.mean([1], { keepDims: true });
          const deviation = values.sub(mean).square().mean([1]).sqrt();
          return {
            pixels: visible(z, system),
            mean: mean.flatten().toArray(),
            deviation: deviation.toArray(),
          };
        }),
      );
      for (const i of indices) {
        data.set(pixels.subarray(i * size, (i + 1) * size), (i * columns + column) * size);
        rows.push({
          image: i,
          t: time,
          ...(levels ? { level: levels[column] as number } : {}),
          mean: mean[i] ?? Number.NaN,
          standardDeviation: deviation[i] ?? Number.NaN,
        });
      }
    }
    const names = indices.map((i) => source.classes?.[source.labels?.[i] ?? -1] ?? "");
    const picture = await imagePicture(
      { data, count: count * columns, channels: channels as 1 | 3, height, width },
      {
        columns,
        columnLabels: labels,
        ...(names.some((name) => name !== "") ? { rowLabels: names } : {}),
        title: `${title}, ${label}`,
      },
    );
    const settings = { images: count, times, ...(levels ? { levels } : {}), split: source.split };
    return { kind: "picture", ...picture, rows, settings };
  },
});
