/** Figure `encoding-range`: the least, mean and largest pixel of encoded images against time. */
import { setImmediate as turn } from "node:timers/promises";
import {
  type DiffusionSystem,
  type EncodedView,
  hasEncodedView,
  hasSharedSchedule,
  type SharedSchedule,
} from "../diffusion/system.js";
import { lineChart, panels } from "../plot/index.js";
import { linspace, noGrad, scope } from "../torch/index.js";
import { encodedAt } from "./encoded.js";
import { batchesOf, defineFigure } from "./figure.js";

type Encoding = DiffusionSystem & EncodedView & SharedSchedule;

/** The numbers drawn, of pixels between -1 and 1. */
const STATISTICS = ["max", "mean", "min"] as const;
type Statistics = Readonly<Record<(typeof STATISTICS)[number], number>>;

const scaled = (factor: number, { min, mean, max }: Statistics): Statistics => ({
  min: factor * min,
  mean: factor * mean,
  max: factor * max,
});

/** Draws the range of `x_t`, and that of `alpha_t x_t`, the mean of z_t, over the pixels of all images. */
export const encodingRange = defineFigure<Encoding>({
  name: "encoding-range",
  summary: "min, mean and max of x(t) and alpha(t) x(t) against t",
  needs: "weights",
  of: {
    fits: (system): system is Encoding => hasEncodedView(system) && hasSharedSchedule(system),
    words: "a system that encodes its data",
  },
  async draw({ label, system, request, openImages, batchSize, device, signal, onProgress }) {
    const { source, read } = await openImages();
    const images = Math.min(request.images ?? 64, source.length);
    const K = request.times ?? 51;
    const t = Array.from({ length: K }, (_, k) => k / Math.max(1, K - 1));
    const alpha = scope(() =>
      noGrad(() => {
        const { gamma } = system.schedule.at(linspace(0, 1, K, { dtype: "float64", device }));
        return gamma.neg().sigmoid().sqrt().toArray();
      }),
    );
    const encoded: Statistics[] = [];
    for (const time of t) {
      let seen = { min: Number.POSITIVE_INFINITY, mean: 0, max: Number.NEGATIVE_INFINITY };
      for (const indices of batchesOf(images, batchSize)) {
        signal?.throwIfAborted();
        seen = scope(() =>
          noGrad(() => {
            const xt = encodedAt(system, read(indices), time).to("float64");
            return {
              min: Math.min(seen.min, xt.min().item()),
              mean: seen.mean + (xt.mean().item() * indices.length) / images,
              max: Math.max(seen.max, xt.max().item()),
            };
          }),
        );
        await turn();
      }
      encoded.push(seen);
      onProgress?.(encoded.length * images, K * images);
    }
    const means = encoded.map((seen, k) => scaled(alpha[k] ?? Number.NaN, seen));
    const chartOf = (title: string, subtitle: string, yLabel: string, values: readonly Statistics[]) =>
      lineChart({
        title,
        subtitle,
        x: { label: "t", domain: [0, 1] },
        y: { label: yLabel },
        series: STATISTICS.map((name) => ({ name, x: t, y: values.map((value) => value[name]) })),
      });
    const chart = panels([
      chartOf(
        "Range of the encoding x(t)",
        `${label}; over all pixels of ${images} ${source.split} images`,
        "x(t)",
        encoded,
      ),
      chartOf("Range of α(t) x(t)", "The mean of z(t); the prior expects 0 at t = 1", "α(t) x(t)", means),
    ]);
    const rows = t.map((time, k) => {
      const [x, mean] = [encoded[k], means[k]];
      return {
        t: time,
        alpha: alpha[k] ?? Number.NaN,
        ...Object.fromEntries(STATISTICS.map((name) => [`${name}X`, x?.[name] ?? Number.NaN])),
        ...Object.fromEntries(STATISTICS.map((name) => [`${name}AlphaX`, mean?.[name] ?? Number.NaN])),
      };
    });
    return { kind: "chart", chart, rows, settings: { images, times: K, split: source.split } };
  },
});
