/** Figure `encoded-images`: what becomes of images before they are noised (DiffEnc, section 6). */
import { setImmediate as turn } from "node:timers/promises";
import { visible } from "../experiment/drawing.js";
import { imagePicture } from "../plot/index.js";
import { noGrad, scope } from "../torch/index.js";
import { encodedAt, encodedSystem, nameOf, oneOfEachClass, pixelRows, timesUpToOne } from "./encoded.js";
import { defineFigure, type Row } from "./figure.js";

const TIMES = [0, 0.7, 0.8, 0.9, 0.92, 0.94, 0.96, 0.98, 1];
/** Those of the paper. */
const CLASSES = [0, 3, 6, 9];

/** Draws `(x_t + 1) / 2` of a few images, black being 0 and white 1 in all of them. */
export const encodedImages = defineFigure({
  name: "encoded-images",
  summary: "test images as they are encoded along t",
  needs: "weights",
  of: encodedSystem,
  async draw({ label, system, request, openImages, signal, onProgress }) {
    const { source, read } = await openImages();
    const times = timesUpToOne(request.times, TIMES);
    const indices = oneOfEachClass(source, request.images ?? CLASSES.length, CLASSES);
    const [channels, height, width] = source.shape;
    const plane = height * width;
    const size = channels * plane;
    const data = new Uint8Array(indices.length * times.length * size);
    const rows: Row[] = [];
    for (const [k, t] of times.entries()) {
      signal?.throwIfAborted();
      const { bytes, values } = scope(() =>
        noGrad(() => {
          const xt = encodedAt(system, read(indices), t);
          return { bytes: visible(xt, system), values: xt.to("float64").toTypedArray() as Float64Array };
        }),
      );
      for (const [i, image] of indices.entries()) {
        data.set(bytes.subarray(i * size, (i + 1) * size), (i * times.length + k) * size);
        for (let channel = 0; channel < channels; channel++) {
          const start = i * size + channel * plane;
          const facts = { image, name: nameOf(source, image), t, channel };
          rows.push(...pixelRows(facts, values.subarray(start, start + plane), width));
        }
      }
      onProgress?.((k + 1) * indices.length, times.length * indices.length);
      await turn();
    }
    const count = indices.length * times.length;
    const { svg, png } = await imagePicture(
      { data, count, channels: channels as 1 | 3, height, width },
      {
        columnLabels: times.map((t) => `t = ${t.toFixed(2)}`),
        rowLabels: indices.map((image) => nameOf(source, image)),
        title: `Encoded images (x(t) + 1) / 2: ${label}`,
      },
    );
    return { kind: "picture", png, svg, rows, settings: { images: indices, times, split: source.split } };
  },
});
