/** Figure `encoder-changes`: where and when the encoder changes an image (DiffEnc, figure 2). */
import { setImmediate as turn } from "node:timers/promises";
import type { Batch, EncodedView } from "../diffusion/system.js";
import { heatmapGrid, type Panel } from "../plot/index.js";
import { noGrad, scope, type Tensor } from "../torch/index.js";
import {
  encodedAt,
  encodedSystem,
  nameOf,
  oneOfEachClass,
  pixelRows,
  storedPixels,
  timesUpToOne,
} from "./encoded.js";
import { defineFigure, type Row } from "./figure.js";

/** From s to t, except where t is before it. */
const INTERVAL = 0.1;
const TIMES = [0.4, 0.6, 0.8, 1];
/** Those of the paper. */
const CLASSES = [1, 3, 4, 7];

/** The earlier of the two times that are compared. */
const earlier = (t: number) => Math.max(0, t - INTERVAL);

/** `sum over channels of (x_t - x_s) / (t - s)`, `s = t - 0.1` but not before 0, for t in (0, 1]; `[B, H, W]`. */
export function encoderChange(system: EncodedView, batch: Batch, t: number): Tensor {
  const s = earlier(t);
  return encodedAt(system, batch, t)
    .sub(encodedAt(system, batch, s))
    .div(t - s)
    .sum([1]);
}

/** Draws the changes of a few images; each map has its own symmetric range, and white is exactly 0. */
export const encoderChanges = defineFigure({
  name: "encoder-changes",
  summary: "where the encoder changes test images, per unit of time, in blue and red",
  needs: "weights",
  of: encodedSystem,
  async draw({ label, system, request, openImages, signal, onProgress }) {
    const { source, read } = await openImages();
    const times = timesUpToOne(request.times, TIMES);
    const indices = oneOfEachClass(source, request.images ?? CLASSES.length, CLASSES);
    const pixels = storedPixels(source, indices);
    const { height, width } = pixels;
    const panels: Panel[][] = indices.map((_, index) => [{ kind: "image", pixels, index }]);
    const rows: Row[] = [];
    for (const [k, t] of times.entries()) {
      signal?.throwIfAborted();
      const changes = scope(() =>
        noGrad(() => encoderChange(system, read(indices), t).to("float64").toTypedArray()),
      ) as Float64Array;
      for (const [i, image] of indices.entries()) {
        const values = changes.subarray(i * height * width, (i + 1) * height * width);
        panels[i]?.push({ kind: "map", values, height, width });
        rows.push(...pixelRows({ image, name: nameOf(source, image), t, s: earlier(t) }, values, width));
      }
      onProgress?.((k + 1) * indices.length, times.length * indices.length);
      await turn();
    }
    const { svg, png } = await heatmapGrid({
      rows: panels,
      colours: "diverging",
      range: "panel",
      columnLabels: ["x", ...times.map((t) => `t = ${t.toFixed(2)}`)],
      rowLabels: indices.map((image) => nameOf(source, image)),
      title: `Change of the encoding, (x(t) − x(t − ${INTERVAL})) / ${INTERVAL}: ${label}`,
    });
    const settings = { images: indices, times, interval: INTERVAL, range: "panel", split: source.split };
    return { kind: "picture", png, svg, rows, settings };
  },
});
