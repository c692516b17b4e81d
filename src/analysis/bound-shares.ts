/** Figure `bound-shares`: how much of the bound the first steps of a chain hold (DAED, figure 14). */
import { UserError } from "../errors.js";
import { lineChart, panels } from "../plot/index.js";
import { boundShares, measureSteps, stepsRequest, termsOfAll } from "./bound-steps.js";
import { chainName, wholeChain } from "./chains.js";
import { defineFigure, type FigureSubject } from "./figure.js";
import { sameImages } from "./same-images.js";

export const boundSharesFigure = defineFigure({
  name: "bound-shares",
  summary: "the bound summed from the first step on, with it and without, for this run and those of --with",
  needs: "weights",
  of: wholeChain,
  async draw(context) {
    const { onProgress, others } = context;
    const first = await context.openImages();
    const runs = [];
    for (const run of [context, ...others] as readonly FigureSubject[]) {
      const { system } = run;
      if (!wholeChain.fits(system))
        throw new UserError(
          `expected ${wholeChain.words} for figure "bound-shares", got one without (${run.label}): leave that run out`,
        );
      const images = await sameImages(run, first);
      runs.push({ run, system, images, request: stepsRequest(context, images, system.steps) });
    }
    const total = runs.reduce((sum, { request }) => sum + request.steps.length * request.images, 0);
    let done = 0;
    const onImages = (count: number) => {
      done += count;
      onProgress?.(done, total);
    };
    const measured = [];
    for (const { run, system, images, request } of runs) {
      const bits = await measureSteps(system, images, {
        ...context,
        ...request,
        chain: system.chain,
        onImages,
      });
      const means = bits.map(({ mean }) => mean);
      const terms = termsOfAll(request.steps, means, system.steps);
      measured.push({ run, system, request, bits, terms, shares: boundShares(terms) });
    }

    const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
    const curves = measured.map(({ run, request: { steps }, bits, terms, shares }) => ({
      name: run.name,
      points: steps.map((t, i) => {
        const sum = shares.cumulative[t] as number;
        const first = terms[0] as number;
        return {
          ...{ run: run.name, t, part: (t + 1) / terms.length },
          bitsPerDim: bits[i]?.mean ?? Number.NaN,
          standardError: bits[i]?.standardError ?? Number.NaN,
          ...{ sum, share: sum / shares.total, sumWithoutFirst: sum - first },
          shareWithoutFirst: (sum - first) / (shares.total - first),
        };
      }),
    }));
    const { images, split } = runs[0]?.request ?? { images: 0, split: "" };
    const held = measured.map(
      ({ run, shares }) =>
        `${run.name}: step 0 ${percent(shares.firstStep)}, first ${shares.hundredth} steps ${percent(shares.firstHundredth)}`,
    );
    const x = { label: "(t + 1) / T", scale: "log" } as const;
    const chart = panels([
      lineChart({
        title: "The bound's share of the first steps",
        subtitle: `${images} ${split} images; ${held.join("; ")}`,
        height: 400,
        x,
        y: { label: "sum of the terms up to t, over that of all", domain: [0, 1] },
        series: curves.map(({ name, points }) => ({
          name,
          x: points.map(({ part }) => part),
          y: points.map(({ share }) => share),
        })),
      }),
      lineChart({
        title: "Without step 0",
        subtitle: "the sum of the terms of steps 1 to t",
        height: 400,
        x,
        y: { label: "bits/dim" },
        series: curves.map(({ name, points }) => ({
          name,
          x: points.slice(1).map(({ part }) => part),
          y: points.slice(1).map(({ sumWithoutFirst }) => sumWithoutFirst),
        })),
      }),
    ]);
    const settings = {
      ...{ images, split },
      runs: measured.map(({ run, system, request, shares }) => ({
        ...{ run: run.label, model: chainName(system), loss: system.loss },
        ...{ chainSteps: system.steps, measuredSteps: request.steps.length },
        ...{ bitsPerDim: shares.total, firstStep: shares.firstStep, firstHundredth: shares.firstHundredth },
        hundredth: shares.hundredth,
      })),
    };
    return { kind: "chart", chart, rows: curves.flatMap(({ points }) => points), settings };
  },
});
