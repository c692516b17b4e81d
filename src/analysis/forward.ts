/** Figure `forward`: a few images on their way from data to noise. */

import { type DiffusionSystem, type ForwardView, hasForwardView } from "../diffusion/system.js";
import { visible } from "../experiment/drawing.js";
import { imagePicture } from "../plot/index.js";
import { full, noGrad, scope } from "../torch/index.js";
import { defineFigure, type Row } from "./figure.js";

/** Draws z_t of the first images at evenly spaced t, 0 and 1 included; all of an image with the same noise. */
export const forward = defineFigure<DiffusionSystem & ForwardView>({
  name: "forward",
  summary: "test images noised at evenly spaced t, from data to noise",
  needs: "config",
  of: { fits: hasForwardView, words: "a system whose forward process can be drawn from" },
  async draw({ label, system, request, openImages, streams, device }) {
    const { source, read } = await openImages();
    const count = Math.min(request.images ?? 6, source.length);
    const columns = request.times ?? 10;
    const times = Array.from({ length: columns }, (_, i) => i / Math.max(1, columns - 1));
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
          return { pixels: visible(z), mean: mean.flatten().toArray(), deviation: deviation.toArray() };
        }),
      );
      for (const i of indices) {
        data.set(pixels.subarray(i * size, (i + 1) * size), (i * columns + column) * size);
        rows.push({
          image: i,
          t: time,
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
        columnLabels: times.map((t) => `t = ${t.toFixed(2)}`),
        ...(names.some((name) => name !== "") ? { rowLabels: names } : {}),
        title: `From data to noise: z(t), ${label}`,
      },
    );
    return { kind: "picture", ...picture, rows, settings: { images: count, times, split: source.split } };
  },
});
