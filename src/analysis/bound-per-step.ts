/** Figure `bound-per-step`: the bound's term of every step of a chain, as training went on (DAED, figure 13). */
import { type LineSeries, lineChart } from "../plot/index.js";
import { boundShares, measureSteps, stepsRequest, termsOfAll } from "./bound-steps.js";
import { wholeChain } from "./chains.js";
import { defineFigure } from "./figure.js";

/** Above this part of the chain the paper finds next to nothing once training is on its way. */
const TENTH = 0.1;

export const boundPerStep = defineFigure({
  name: "bound-per-step",
  summary: "the bound's term of every step of a chain, bits/dim, at all checkpoints of a run",
  needs: "weights",
  of: wholeChain,
  async draw(context) {
    const { label, system, onProgress } = context;
    const images = await context.openImages();
    const request = stepsRequest(context, images, system.steps);
    const kept = context.checkpoints();
    const T = system.steps;
    const total = kept.length * request.steps.length * request.images;
    let done = 0;
    const measured = [];
    for (const { step, open } of kept) {
      const then = open();
      try {
        if (!wholeChain.fits(then)) throw new Error(`expected ${wholeChain.words} in checkpoint ${step}`);
        const onImages = (count: number) => {
          done += count;
          onProgress?.(done, total);
        };
        const bits = await measureSteps(then, images, {
          ...context,
          ...request,
          chain: system.chain,
          onImages,
        });
        measured.push({ step, bits });
      } finally {
        then.dispose();
      }
    }

    const x = request.steps.map((t) => t + 1);
    const chart = lineChart({
      title: "The bound step by step, as training went on",
      subtitle: `${label}; mean over ${request.images} ${request.split} images, a line a checkpoint`,
      width: 640,
      height: 420,
      x: { label: `step t + 1 of ${T}`, scale: "log", domain: [1, T] },
      y: { label: "term of the bound (bits/dim)", scale: "log" },
      series: measured.map(
        ({ step, bits }): LineSeries => ({
          name: `step ${step.toLocaleString("en-US")}`,
          x,
          y: bits.map(({ mean }) => mean),
        }),
      ),
    });
    const rows = measured.flatMap(({ step, bits }) =>
      request.steps.map((t, i) => ({
        ...{ checkpoint: step, t },
        bitsPerDim: bits[i]?.mean ?? Number.NaN,
        standardError: bits[i]?.standardError ?? Number.NaN,
      })),
    );
    const checkpoints = measured.map(({ step, bits }) => {
      const terms = termsOfAll(
        request.steps,
        bits.map(({ mean }) => mean),
        T,
      );
      const { total: bitsPerDim, firstStep, firstHundredth } = boundShares(terms);
      const largestAboveTenth = Math.max(...terms.subarray(Math.ceil(TENTH * T)));
      return { step, bitsPerDim, firstStep, firstHundredth, largestAboveTenth };
    });
    const settings = {
      ...{ images: request.images, split: request.split, chainSteps: T, measuredSteps: request.steps.length },
      checkpoints,
    };
    return { kind: "chart", chart, rows, settings };
  },
});
