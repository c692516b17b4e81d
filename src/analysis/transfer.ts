/** Figure `transfer`: how well models bring back images of data sets that they know and do not know (DAED, table 2). */
import type { Estimate } from "../experiment/evaluation.js";
import { usualWayBack } from "../experiment/reconstruction.js";
import { barChart, panels } from "../plot/index.js";
import { defineFigure } from "./figure.js";
import { denoisingRuns, denoisingSystem, sharedNoise } from "./reconstructing.js";
import { pairings, rowOf, type Tried, tryAll } from "./reconstruction-errors.js";

const IMAGES = 256;

/** Draws the matrix of runs and data sets as bars. */
export const transfer = defineFigure({
  name: "transfer",
  summary: "errors of images brought back, of this run and those of --with, on its data and on each --data",
  needs: "weights",
  of: denoisingSystem,
  async draw(context) {
    const runs = denoisingRuns("transfer", context);
    const at = sharedNoise(runs, context);
    const pairs = await pairings(runs, context, IMAGES);
    const trials = pairs.map((pair) => ({ ...pair, start: pair.run.system.reconstructionStart(at) }));
    const tried = await tryAll(trials, context);

    const [{ images, set }] = pairs as [(typeof pairs)[number]];
    const { split } = set.source;
    const notes = new Set(
      pairs.flatMap(({ set: { source, adaptation = "none" } }) =>
        adaptation === "none" ? [] : [`; ${source.name} ${adaptation}`],
      ),
    );
    const panel = (title: string, label: string, of: (errors: Tried["errors"]) => Estimate) =>
      barChart({
        title,
        subtitle: `from noise of variance ${Number(at.toPrecision(3))}; ${images} ${split} images; bars: ± 1 standard error${[...notes].join("")}`,
        height: 400,
        x: { label: "images of" },
        y: { label },
        categories: pairs.filter(({ run }) => run === runs[0]).map((pair) => pair.set.source.name),
        series: runs.map((run) => {
          const values = tried.filter((one) => one.run === run).map(({ errors }) => of(errors));
          return {
            name: run.name,
            y: values.map(({ mean }) => mean),
            low: values.map(({ mean, standardError }) => mean - standardError),
            high: values.map(({ mean, standardError }) => mean + standardError),
          };
        }),
      });
    const chart = panels([
      panel("Error of images brought back", "mean absolute error on [-1, 1]", ({ mae }) => mae),
      panel("What they lack in similarity", "1 - MS-SSIM", ({ msSsim }) => ({
        ...msSsim,
        mean: 1 - msSsim.mean,
      })),
    ]);
    const settings = {
      ...{ at, images, split, sampler: usualWayBack, batchSize: context.batchSize },
      runs: runs.map(({ label }) => label),
    };
    return { kind: "chart", chart, rows: tried.map(rowOf), settings };
  },
});
