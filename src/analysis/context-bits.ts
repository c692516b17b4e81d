/** Figure `context-bits`: the bound against T for several runs, such as those of MuLAN's context ablation (figure 4). */
import { type BoundedLikelihood, type DiffusionSystem, hasBound } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { type Estimate, estimateBound } from "../experiment/evaluation.js";
import { lineChart } from "../plot/index.js";
import { defineFigure, type FigureSubject } from "./figure.js";
import { sameImages } from "./same-images.js";

type Bounded = DiffusionSystem & BoundedLikelihood;

/** A context that is guessed has no bound in continuous time, so that 0 is not among them. */
const STEPS = [10, 100, 1000];
/** Bounds further apart than this are drawn on a logarithmic axis. */
const FAR_APART = 2;

interface Point extends Estimate {
  readonly run: string;
  readonly steps: number;
}

/** @throws UserError where a run beside the first has no bound */
function bounded(subject: FigureSubject): FigureSubject<Bounded> {
  const { system } = subject;
  if (!hasBound(system))
    throw new UserError(
      `expected runs with a likelihood bound for figure "context-bits", got one without (${subject.label}): leave it out`,
    );
  return { ...subject, system };
}

/**
 * Measures every run at every T on the same images with the same streams. With a context that the reverse process must
 * guess the bound grows with T; with none, or a latent that both processes know, it falls.
 */
export const contextBits = defineFigure<Bounded>({
  name: "context-bits",
  summary: "bits/dim against the number of steps T, for this run and those of --with",
  needs: "other runs",
  of: { fits: hasBound, words: "a system with a likelihood bound" },
  async draw(context) {
    const { request, streams, pass, batchSize, signal } = context;
    const runs = [context, ...context.others.map(bounded)];
    const first = await context.openImages();
    const images = Math.min(request.images ?? 128, first.source.length);
    const passes = request.passes ?? 4;
    const steps = [...new Set(request.steps ?? STEPS)].sort((a, b) => a - b);
    if (steps.includes(0))
      throw new UserError(
        'expected numbers of steps above 0 for figure "context-bits", got 0 (continuous time): draw bits-per-steps for it',
      );

    const points: Point[] = [];
    const total = runs.length * steps.length * images * passes;
    for (const run of runs) {
      const { source, read } = await sameImages(run, first);
      for (const T of steps) {
        const start = points.length * images * passes;
        const { bitsPerDim } = await estimateBound({
          system: run.system,
          source,
          images,
          passes,
          batchSize,
          streams,
          pass,
          signal,
          steps: T,
          readBatch: read,
          onProgress: (done) => context.onProgress?.(start + done, total),
        });
        points.push({
          run: run.name,
          steps: T,
          mean: bitsPerDim.mean,
          standardError: bitsPerDim.standardError,
        });
      }
    }

    const means = points.map(({ mean }) => mean);
    const apart = Math.min(...means) > 0 && Math.max(...means) > FAR_APART * Math.min(...means);
    const chart = lineChart({
      title: "Variational bound against the number of steps",
      subtitle: `${context.label}; ${images} ${first.source.split} images, ${passes} draws each, band: ± 1 standard error`,
      width: 620,
      height: 400,
      x: { label: "T (steps of the chain)", scale: "log" },
      y: { label: "bits/dim", scale: apart ? "log" : "linear" },
      series: runs.map(({ name }, i) => {
        const own = points.slice(i * steps.length, (i + 1) * steps.length);
        return {
          name,
          x: own.map((point) => point.steps),
          y: own.map(({ mean }) => mean),
          low: own.map(({ mean, standardError }) => mean - standardError),
          high: own.map(({ mean, standardError }) => mean + standardError),
          mark: "line-and-points",
        };
      }),
    });
    const rows = points.map(({ run, steps, mean, standardError }) => ({
      run,
      steps,
      bitsPerDim: mean,
      standardError,
    }));
    const settings = {
      runs: runs.map(({ label }) => label),
      images,
      passes,
      steps,
      split: first.source.split,
    };
    return { kind: "chart", chart, rows, settings };
  },
});
