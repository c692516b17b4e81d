/** Figure `overview`: an image on its way through encoding, noise and prediction (DiffEnc, figure 1). */
import { setImmediate as turn } from "node:timers/promises";
import type { DiffusionSystem, EncodedView, ForwardView, SampleView } from "../diffusion/system.js";
import { hasEncodedView, hasForwardView } from "../diffusion/system.js";
import { visible } from "../experiment/drawing.js";
import { imagePicture } from "../plot/index.js";
import { full, noGrad, scope, type Tensor } from "../torch/index.js";
import { encodedAt, nameOf, oneOfEachClass, storedPixels } from "./encoded.js";
import { defineFigure, type FigureContext, type Row } from "./figure.js";

type Encoding = DiffusionSystem & EncodedView & ForwardView;

/** How much the encoding is amplified, as in the paper, since it hardly shows otherwise. */
const AMPLIFIED = 5;
/** Those of the paper's other figure. */
const CLASSES = [1, 3, 4, 7];
/** What a column has of each image, from top to bottom. */
const ROWS = [`x(t), change × ${AMPLIFIED}`, "z(t)", "x(t) predicted"] as const;
/** Of paper, where a column has nothing. */
const BLANK = 255;

/** What the sampler predicts from z at time `k / K`: that of its next step, if it takes K in all. */
function predicted(
  z: Tensor,
  at: { readonly k: number; readonly K: number; readonly condition: Tensor | undefined },
  { system, sampling, streams, pass }: FigureContext<Encoding>,
): Tensor {
  const { k, K, condition } = at;
  const { sampler } = sampling;
  const request = { count: z.dim(0), steps: K, sampler, streams, pass, ...(condition ? { condition } : {}) };
  const state: SampleView = { ...system.start(request), z };
  const { xHat } = system.step(state, K - k);
  if (!xHat) throw new Error("expected a system that predicts images");
  return xHat;
}

/** Draws `x + 5 (x_t - x)`, z_t and the image predicted from z_t, at `t = 1/K .. 1`. */
export const overview = defineFigure<Encoding>({
  name: "overview",
  summary: `test images encoded (${AMPLIFIED} times amplified), noised, and predicted from the noise`,
  needs: "weights",
  of: {
    fits: (system): system is Encoding => hasEncodedView(system) && hasForwardView(system),
    words: "a system that encodes its data",
  },
  async draw(context) {
    const { label, system, request, openImages, streams, device, signal, onProgress } = context;
    const { source, read } = await openImages();
    const K = request.times ?? 5;
    const indices = oneOfEachClass(source, request.images ?? 2, CLASSES);
    const stored = storedPixels(source, indices);
    const size = stored.data.length / stored.count;
    const columns = K + 1;
    const data = new Uint8Array(indices.length * ROWS.length * columns * size).fill(BLANK);
    const put = (image: number, row: number, column: number, from: Uint8Array) =>
      data.set(
        from.subarray(image * size, (image + 1) * size),
        ((image * ROWS.length + row) * columns + column) * size,
      );
    for (const i of indices.keys()) put(i, 0, 0, stored.data);

    const rows: Row[] = [];
    for (let k = 1; k <= K; k++) {
      signal?.throwIfAborted();
      const time = k / K;
      const seen = scope(() =>
        noGrad(() => {
          const batch = read(indices);
          const t = full([indices.length], time, { dtype: "float64", device });
          const x = system.encode(batch.pixels);
          const xt = encodedAt(system, batch, time);
          const z = system.noised(batch, t, streams.at(0)); // one noise at all times
          const xHat = predicted(z, { k, K, condition: batch.condition }, context);
          const distance = (a: Tensor, b: Tensor) => a.sub(b).square().flatten(1).mean([1]).sqrt().toArray();
          return {
            pictures: [x.add(xt.sub(x).mul(AMPLIFIED)), z, xHat].map((seen) => visible(seen, system)),
            encoding: distance(xt, x),
            error: distance(xHat, xt),
          };
        }),
      );
      for (const [i, image] of indices.entries()) {
        for (const [row, picture] of seen.pictures.entries()) put(i, row, k, picture);
        rows.push({
          image,
          name: nameOf(source, image),
          t: time,
          encodedFromData: seen.encoding[i] ?? Number.NaN,
          predictedFromEncoded: seen.error[i] ?? Number.NaN,
        });
      }
      onProgress?.(k * indices.length, K * indices.length);
      await turn();
    }
    const times = Array.from({ length: K }, (_, k) => (k + 1) / K);
    const { svg, png } = await imagePicture(
      { ...stored, data, count: data.length / size },
      {
        columnLabels: ["x", ...times.map((t) => `t = ${t.toFixed(2)}`)],
        rowLabels: indices.flatMap(() => ROWS),
        title: `Encoded, noised, predicted: ${label}`,
      },
    );
    const settings = { images: indices, times, amplified: AMPLIFIED, split: source.split };
    return { kind: "picture", png, svg, rows, settings };
  },
});
