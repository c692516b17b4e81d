/** Figure `exchange`: images drawn with the latents of others at some of their levels. */
import { latentSystem } from "./cold-walks.js";
import { drawExchangeGrid, everyPair } from "./exchange-grid.js";
import { disposePairs, drawnPairs, exchangesOf, visitedLevels } from "./exchange-walks.js";
import { defineFigure } from "./figure.js";

/** One start and one noise for all images, so that nothing but latents tells them apart. */
export const exchange = defineFigure({
  name: "exchange",
  summary: "images with the latents of others at one level after another, or in --times windows of levels",
  needs: "weights",
  of: latentSystem,
  async draw(context) {
    const { label, request, streams } = context;
    const plan = everyPair(request.images);
    const exchanges = exchangesOf(visitedLevels(context), context);
    const pairs = drawnPairs(context, streams, { ...plan, shared: ["start", "noise"] });
    try {
      const drawing = await drawExchangeGrid(context, {
        ...{ pairs, rows: plan.rows, source: { label: "source" }, target: { label: "target" } },
        exchanges,
        rowLabels: plan.rows.map(([t, s]) => `target ${t + 1}, source ${s + 1}`),
        title: `The target with the source's latent at k: ${label}`,
      });
      const { sampler, steps } = context.sampling;
      return { ...drawing, settings: { latents: "prior", sampler, steps, ...drawing.settings } };
    } finally {
      disposePairs(pairs);
    }
  },
});
