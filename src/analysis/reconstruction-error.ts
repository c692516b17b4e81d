/** Figure `reconstruction-error`: how well images come back from each of the first steps (DAED, figures 2 and 3). */
import { type ReconstructionErrors, usualWayBack } from "../experiment/reconstruction.js";
import { lineChart, panels } from "../plot/index.js";
import { wholeChain } from "./chains.js";
import { defineFigure } from "./figure.js";
import { denoisingRuns } from "./reconstructing.js";
import { pairings, rowOf, tryAll } from "./reconstruction-errors.js";

const IMAGES = 32;
const TIMES = 11;
/** Steps of a chain that are looked at, as a part of all. */
const PART = 0.2;

/** `count` steps, evenly spaced over `0 .. floor(T / 5)`, both ends included. */
export function firstSteps(T: number, count: number): readonly number[] {
  const last = Math.floor(PART * T);
  return [
    ...new Set(Array.from({ length: count }, (_, i) => Math.round((i * last) / Math.max(1, count - 1)))),
  ];
}

/** Draws mean absolute error and MS-SSIM against t / T, a line for each run and data set. */
export const reconstructionError = defineFigure({
  name: "reconstruction-error",
  summary: "errors of images brought back from each of the first steps, a line for each run and --data",
  needs: "weights",
  of: wholeChain,
  async draw(context) {
    const { request } = context;
    const runs = denoisingRuns("reconstruction-error", context);
    const pairs = await pairings(runs, context, IMAGES);
    const trials = pairs.flatMap((pair) => {
      const { chain } = pair.run.system;
      return firstSteps(chain.length, request.times ?? TIMES).map((t) => ({
        ...{ ...pair, pair, part: t / chain.length },
        start: pair.run.system.reconstructionStart(1 - (chain.tables.alphasCumprod[t] as number)),
      }));
    });
    const tried = await tryAll(trials, context);

    const [{ images, set }] = pairs as [(typeof pairs)[number]];
    const { split } = set.source;
    const panel = (key: keyof ReconstructionErrors, title: string, label: string) =>
      lineChart({
        title,
        subtitle: `${images} ${split} images; ${usualWayBack} steps; band: ± 1 standard error`,
        height: 400,
        x: { label: "t / T" },
        y: { label },
        series: pairs.map((pair) => {
          const points = tried.filter((one) => one.pair === pair);
          const values = points.map(({ errors }) => errors[key]);
          return {
            name: [...(runs.length > 1 ? [pair.run.name] : []), pair.set.source.name].join(", "),
            x: points.map(({ part }) => part),
            y: values.map(({ mean }) => mean),
            low: values.map(({ mean, standardError }) => mean - standardError),
            high: values.map(({ mean, standardError }) => mean + standardError),
          };
        }),
      });
    const chart = panels([
      panel("mae", "Error of images brought back from step t", "mean absolute error on [-1, 1]"),
      panel("msSsim", "Their similarity to what they were", "MS-SSIM"),
    ]);
    const settings = {
      ...{ images, split, sampler: usualWayBack, batchSize: context.batchSize },
      runs: runs.map(({ label, system }) => ({ run: label, chainSteps: system.chain.length })),
    };
    return { kind: "chart", chart, rows: tried.map((one) => ({ ...rowOf(one), part: one.part })), settings };
  },
});
