/** Figure `schedule-replacement`: what the trained schedule of every pixel is worth (MuLAN's post-hoc replacement). */
import { bitsPerDim, totalBound } from "../diffusion/likelihood/bound.js";
import {
  type BoundedLikelihood,
  type DiffusionSystem,
  hasBound,
  hasReplaceableSchedule,
  type ReplaceableSchedule,
} from "../diffusion/system.js";
import { type Estimate, estimate, meanOfPasses } from "../experiment/evaluation.js";
import { cutInPieces, doWork, type Numbers, numbersByPass, type Work } from "../experiment/work.js";
import { dotChart } from "../plot/dot-chart.js";
import { panels } from "../plot/index.js";
import { noGrad, scope } from "../torch/index.js";
import { defineFigure, type FigureContext, type FigureImages } from "./figure.js";
import { dimensionsOf } from "./pixel-gamma.js";

type Replaceable = DiffusionSystem & BoundedLikelihood & ReplaceableSchedule;

const SCHEDULES = [
  { name: "own", by: undefined },
  { name: "mean over pixels", by: "mean" },
  { name: "straight line", by: "linear" },
] as const;

interface Replaced {
  readonly name: string;
  readonly bitsPerDim: Estimate;
  /** Less that of its own schedule, image by image with the same draws. */
  readonly difference: Estimate;
}

/** What `run` gives with another schedule in place; afterwards its own is back. */
function underSchedule<R>(system: Replaceable, by: "mean" | "linear" | undefined, run: () => R): R {
  system.replaceSchedule(by);
  try {
    return run();
  } finally {
    system.replaceSchedule(undefined);
  }
}

/** The bound of each image under each schedule; a piece draws the same times, noise and latents for all of them. */
function replacementWork(
  { system, streams, pass, batchSize }: FigureContext<Replaceable>,
  { read }: FigureImages,
  { images, passes }: { readonly images: number; readonly passes: number },
): Work<readonly Replaced[]> {
  const dimensions = dimensionsOf(system.shape);
  return {
    pieces: cutInPieces({ part: "replacement", images, batchSize, passes }),
    measure(piece): Numbers {
      // Streams go on where they were, so that equal draws need streams made anew.
      const bits = () =>
        scope(() =>
          noGrad(() => {
            const draws = { streams: streams.at(piece.pass).at(piece.batch), pass };
            return bitsPerDim(totalBound(system.bound(read(piece.indices), draws)), dimensions).toArray();
          }),
        );
      return Object.fromEntries(SCHEDULES.map(({ name, by }) => [name, underSchedule(system, by, bits)]));
    },
    summarise(measured) {
      const own = meanOfPasses(numbersByPass(measured, "own", images));
      return SCHEDULES.map(({ name }) => {
        const values = meanOfPasses(numbersByPass(measured, name, images));
        const difference = values.map((value, i) => value - (own[i] ?? Number.NaN));
        return { name, bitsPerDim: estimate(values), difference: estimate(difference) };
      });
    },
  };
}

/**
 * The bound of a trained model under its own schedule, under the mean of that over pixels, and under the straight line
 * between the same ends. Were the bound a matter of the ends alone, as a scalar schedule's is, all would be equal.
 */
export const scheduleReplacement = defineFigure<Replaceable>({
  name: "schedule-replacement",
  summary: "bits/dim under its own schedule, the mean over pixels and the straight line",
  needs: "weights",
  of: {
    fits: (system): system is Replaceable => hasBound(system) && hasReplaceableSchedule(system),
    words: "a system with a bound whose schedule can be replaced",
  },
  async draw(context) {
    const { label, request } = context;
    const shown = await context.openImages();
    const { source } = shown;
    const images = Math.min(request.images ?? 256, source.length);
    const passes = request.passes ?? 4;
    const results = await doWork(replacementWork(context, shown, { images, passes }), context);

    const dots = (of: (result: Replaced) => Estimate) =>
      results.map((result) => ({
        name: result.name,
        values: [],
        mean: of(result).mean,
        error: of(result).standardError,
      }));
    const size = { width: 520, height: 260 };
    const chart = panels([
      dotChart({
        ...size,
        title: "The bound under another schedule",
        subtitle: `${label}; ${images} ${source.split} images, ${passes} draws each; bars: ± 1 standard error`,
        x: { label: "bits/dim" },
        rows: dots(({ bitsPerDim }) => bitsPerDim),
      }),
      dotChart({
        ...size,
        title: "What the replacement costs",
        subtitle: "difference to its own schedule, image by image with the same draws",
        x: { label: "bits/dim more" },
        rows: dots(({ difference }) => difference).slice(1),
      }),
    ]);
    const rows = results.map(({ name, bitsPerDim, difference }) => ({
      schedule: name,
      bitsPerDim: bitsPerDim.mean,
      standardError: bitsPerDim.standardError,
      difference: difference.mean,
      differenceStandardError: difference.standardError,
    }));
    return { kind: "chart", chart, rows, settings: { images, passes, split: source.split } };
  },
});
