/** Figure `noise-histograms`: how gamma(z, t) is spread over pixels at a few times. */
import type { NoiseCurve } from "../diffusion/schedule/index.js";
import { lineChart, panels } from "../plot/index.js";
import { defineFigure } from "./figure.js";
import { type CurveSize, lineOf, midpoints, overTimes, spreadOf } from "./pixel-gamma.js";
import { perPixelSchedule } from "./schedule-variance.js";

const LATENTS = 128;
const IMAGES = 64;
const TIMES = 5;
const BINS = 40;

/** Shares of `values` in `BINS` bins from `low` to `high`, divided by their width. */
export function densities(values: readonly number[], low: number, high: number): readonly number[] {
  const width = (high - low) / BINS;
  const counts = new Array<number>(BINS).fill(0);
  for (const value of values) {
    const bin = Math.min(BINS - 1, Math.floor((value - low) / width));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return counts.map((n) => n / values.length / width);
}

/** gamma of every pixel of every image (latent) at each time. */
function valuesOf(makeCurve: () => NoiseCurve, times: readonly number[], size: CurveSize) {
  return overTimes(makeCurve, times, size, (gamma) => gamma.contiguous().flatten().toArray());
}

/** The top of a histogram as a line with corners. */
function staircase(edges: readonly number[], heights: readonly number[]) {
  const x = [
    edges[0] ?? 0,
    ...heights.flatMap((_, i) => [edges[i] ?? 0, edges[i + 1] ?? 0]),
    edges.at(-1) ?? 0,
  ];
  return { x, y: [0, ...heights.flatMap((height) => [height, height]), 0] };
}

/** Of gamma over pixels and latents from the prior, and over pixels and the most likely latents of images. */
export const noiseHistograms = defineFigure({
  name: "noise-histograms",
  summary: "histograms of gamma(z, t) over pixels at a few times",
  needs: "weights",
  of: perPixelSchedule,
  async draw({ label, system, request, openImages, streams, device }) {
    const { source, read } = await openImages();
    const { shape } = system;
    const count = Math.min(request.images ?? IMAGES, source.length);
    const times = midpoints(request.times ?? TIMES);
    const indices = Array.from({ length: count }, (_, i) => i);
    const ofPrior = { count: LATENTS, shape, device };
    const prior = () => system.priorCurve(LATENTS, streams.at(0));
    const line = lineOf(prior, ofPrior);
    const fromPrior = valuesOf(prior, times, ofPrior);
    const fromImages = valuesOf(() => system.curveOf(read(indices)), times, { count, shape, device });

    const histograms = times.map((t, k) => {
      const all = spreadOf([...(fromPrior[k] ?? []), ...(fromImages[k] ?? [])]);
      const margin = all.high > all.low ? 0 : 0.5;
      const [low, high] = [all.low - margin, all.high + margin];
      const edges = Array.from({ length: BINS + 1 }, (_, i) => low + ((high - low) * i) / BINS);
      return {
        t,
        edges,
        prior: densities(fromPrior[k] ?? [], low, high),
        images: densities(fromImages[k] ?? [], low, high),
      };
    });
    const chart = panels(
      histograms.map(({ t, edges, prior, images }, k) =>
        lineChart({
          width: 360,
          height: 320,
          title: `γ(z, t) at t = ${Number(t.toPrecision(3))}`,
          subtitle:
            k === 0 ? `${label}; all pixels` : `straight line: ${line(t).toFixed(2).replace("-", "−")}`,
          x: { label: "γ" },
          y: { label: "density" },
          series: [
            { name: `${LATENTS} z from the prior`, ...staircase(edges, prior) },
            { name: `${count} ${source.split} images`, ...staircase(edges, images) },
          ],
        }),
      ),
      { columns: 3 },
    );
    const rows = histograms.flatMap(({ t, edges, prior, images }) =>
      prior.map((density, i) => ({
        t,
        low: edges[i] ?? Number.NaN,
        high: edges[i + 1] ?? Number.NaN,
        prior: density,
        images: images[i] ?? Number.NaN,
      })),
    );
    const settings = {
      images: count,
      latents: LATENTS,
      times: times.length,
      bins: BINS,
      split: source.split,
    };
    return { kind: "chart", chart, rows, settings };
  },
});
