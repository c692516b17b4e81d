/** Figure `bits-per-steps`: the bound of a chain of T steps, against T. */
import { type BoundedLikelihood, type DiffusionSystem, hasBound } from "../diffusion/system.js";
import { type BoundEstimate, type Estimate, estimateBound } from "../experiment/evaluation.js";
import { type LineSeries, lineChart, panels } from "../plot/index.js";
import { defineFigure } from "./figure.js";

/** 0 is continuous time. One step is left out: its weight is exp(gamma_1 - gamma_0), and nothing else could be seen. */
const STEPS = [10, 30, 100, 300, 1000, 3000, 0];

/** An estimate for each T, and a line across for continuous time. */
function curve(
  name: string,
  chains: readonly (readonly [number, Estimate])[],
  continuous: Estimate | undefined,
): readonly LineSeries[] {
  const x = chains.map(([T]) => T);
  const series = (label: string, values: readonly Estimate[], mark: "line" | "line-and-points") => ({
    name: label,
    x,
    y: values.map(({ mean }) => mean),
    low: values.map(({ mean, standardError }) => mean - standardError),
    high: values.map(({ mean, standardError }) => mean + standardError),
    mark,
  });
  const points = series(
    name,
    chains.map(([, value]) => value),
    "line-and-points",
  );
  if (!continuous) return [points];
  const across = chains.map(() => continuous);
  return [points, series("continuous time", across, "line")];
}

/** Measures the bound at every T on the same images with the same draws. */
export const bitsPerSteps = defineFigure<DiffusionSystem & BoundedLikelihood>({
  name: "bits-per-steps",
  summary: "bits/dim and its parts against the number of steps T, and in continuous time",
  needs: "weights",
  of: { fits: hasBound, words: "a system with a likelihood bound" },
  async draw(context) {
    const { label, system, request, streams, pass, batchSize, signal } = context;
    const { source, read } = await context.openImages();
    const images = Math.min(request.images ?? 128, source.length);
    const passes = request.passes ?? 4;
    const steps = [...new Set(request.steps ?? STEPS)].sort((a, b) => (a || Infinity) - (b || Infinity));

    const results: (readonly [number, BoundEstimate])[] = [];
    const total = images * passes * steps.length;
    for (const [i, T] of steps.entries()) {
      const measured = { system, source, images, passes, batchSize, streams, pass, signal, readBatch: read };
      const onProgress = (done: number, of: number) => context.onProgress?.(i * of + done, total);
      results.push([T, await estimateBound({ ...measured, steps: T, onProgress })]);
    }

    const chains = results.filter(([T]) => T > 0);
    const continuous = results.find(([T]) => T === 0)?.[1];
    const terms = Object.keys(results[0]?.[1].terms ?? {});
    const term = (of: BoundEstimate | undefined, name: string): Estimate =>
      of?.terms[name] ?? { mean: Number.NaN, standardError: Number.NaN };
    const x = { label: "T (steps of the chain)", scale: "log" } as const;
    const chart = panels([
      lineChart({
        title: "Variational bound against the number of steps",
        subtitle: `${label}; ${images} ${source.split} images, ${passes} draws each, band: ± 1 standard error`,
        x,
        y: { label: "bits/dim" },
        series: curve(
          "T steps",
          chains.map(([T, result]) => [T, result.bitsPerDim]),
          continuous?.bitsPerDim,
        ),
      }),
      lineChart({
        title: "Its parts",
        subtitle: "the same images and the same draws at every T",
        x,
        y: { label: "bits/dim", scale: "log" },
        series: terms.flatMap((name) =>
          curve(
            name,
            chains.map(([T, result]) => [T, term(result, name)]),
            undefined,
          ),
        ),
      }),
    ]);
    const rows = results.map(([T, result]) => ({
      steps: T === 0 ? "continuous" : T,
      bitsPerDim: result.bitsPerDim.mean,
      standardError: result.bitsPerDim.standardError,
      ...Object.fromEntries(
        terms.flatMap((name) => [
          [name, term(result, name).mean],
          [`${name}StandardError`, term(result, name).standardError],
        ]),
      ),
      drawDeviation: result.drawDeviation,
    }));
    return { kind: "chart", chart, rows, settings: { images, passes, steps, split: source.split } };
  },
});
