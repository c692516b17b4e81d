/** Figure `loss-per-time`: where in time the bits of the diffusion term are. */
import { setImmediate as turn } from "node:timers/promises";
import { bitsPerDim } from "../diffusion/likelihood/bound.js";
import { type DiffusionSystem, hasPerTimeLoss, type PerTimeLoss } from "../diffusion/system.js";
import { estimate } from "../experiment/evaluation.js";
import { lineChart } from "../plot/index.js";
import { full, noGrad, scope } from "../torch/index.js";
import { batchesOf, defineFigure } from "./figure.js";

/**
 * Measures the diffusion term at `t_k = (k + 1/2) / K`, on the same images at every time: its mean over k is the
 * midpoint rule for the integral over [0, 1], the term itself.
 */
export const lossPerTime = defineFigure<DiffusionSystem & PerTimeLoss>({
  name: "loss-per-time",
  summary: "the diffusion term in bits/dim against t, with standard errors",
  needs: "weights",
  of: { fits: hasPerTimeLoss, words: "a system whose loss can be measured at a time" },
  async draw(context) {
    const { label, system, request, streams, pass, device } = context;
    const { source, read } = await context.openImages();
    const images = Math.min(request.images ?? 64, source.length);
    const K = request.times ?? 32;
    const times = Array.from({ length: K }, (_, k) => (k + 0.5) / K);
    const dimensions = system.shape.reduce((product, n) => product * n, 1);

    const values = times.map(() => new Float64Array(images));
    let done = 0;
    for (const [batch, indices] of [...batchesOf(images, context.batchSize)].entries())
      for (const [k, time] of times.entries()) {
        context.signal?.throwIfAborted();
        const bits = scope(() =>
          noGrad(() => {
            const t = full([indices.length], time, { dtype: "float64", device });
            const draws = { streams: streams.at(k).at(batch), pass };
            return bitsPerDim(system.diffusionAt(read(indices), t, draws), dimensions).toArray();
          }),
        );
        values[k]?.set(bits, indices[0]);
        done += indices.length;
        context.onProgress?.(done, images * K);
        await turn();
      }

    const at = values.map(estimate);
    const perImage = Float64Array.from({ length: images }, (_, i) =>
      values.reduce((sum, ofTime) => sum + (ofTime[i] ?? 0) / K, 0),
    );
    const whole = estimate(perImage);
    const chart = lineChart({
      title: "Diffusion loss against time",
      subtitle:
        `${label}; ${images} ${source.split} images at ${K} times, band: ± 1 standard error; ` +
        `mean over t: ${whole.mean.toFixed(3)} ± ${whole.standardError.toFixed(3)} bits/dim`,
      x: { label: "t", domain: [0, 1] },
      y: { label: "loss at t (bits/dim)" },
      series: [
        {
          name: "diffusion",
          x: times,
          y: at.map(({ mean }) => mean),
          low: at.map(({ mean, standardError }) => mean - standardError),
          high: at.map(({ mean, standardError }) => mean + standardError),
          mark: "line-and-points",
        },
      ],
    });
    const rows = at.map(({ mean, standardError }, k) => ({
      t: times[k] ?? Number.NaN,
      bitsPerDim: mean,
      standardError,
    }));
    return { kind: "chart", chart, rows, settings: { images, times: K, split: source.split, mean: whole } };
  },
});
