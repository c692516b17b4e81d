/** Figure `exchange-encoded`: latent exchange between images of a data set. */
import type { Tensor } from "../torch/index.js";
import { inScope, latentSystem, noiseOfStep } from "./cold-walks.js";
import { nameOf, oneOfEachClass, storedPixels } from "./encoded.js";
import { drawExchangeGrid, everyPair } from "./exchange-grid.js";
import { allLevels, exchangesOf, pairedLatents, selected } from "./exchange-walks.js";
import { defineFigure } from "./figure.js";

/** Latents are those that lead from each of an image's true states to the next; `rebuilt` is what they make of the last state. */
export const exchangeEncoded = defineFigure({
  name: "exchange-encoded",
  summary: "the same with latents that are encoded from images, instead of drawn from the prior",
  needs: "weights",
  of: latentSystem,
  async draw(context) {
    const { label, system, request, streams, pass } = context;
    const { levels } = system;
    const { source, read } = await context.openImages();
    const { rows, targets, sources } = everyPair(request.images);
    const indices = oneOfEachClass(source, targets + sources);
    // Where the data set has fewer images, they come around again.
    const pairs = rows.map(([t, s]) => [t % indices.length, (targets + s) % indices.length] as const);
    const stored = (which: 0 | 1) =>
      storedPixels(
        source,
        pairs.map((pair) => indices[pair[which]] ?? 0),
      ).data;
    const x0 = inScope(() => system.encode(read(indices).pixels));
    const made: Tensor[] = [x0];
    try {
      const encoded = inScope(() => system.encodedLatents(x0, { pass, streams }));
      made.push(encoded.start, encoded.latents);
      const paired = inScope(() => ({
        x: selected(encoded.start, pairs, 0),
        ...pairedLatents(encoded.latents, encoded.latents, pairs),
      }));
      made.push(...Object.values(paired));
      const noise = (i: number) =>
        selected(noiseOfStep(paired.x, streams.at(levels - i), indices.length), pairs, 0);
      const names = indices.map((index) => nameOf(source, index));
      const drawing = await drawExchangeGrid(context, {
        ...{ rows: pairs, pairs: { ...paired, noise, sampler: "ancestral", jump: 1 } },
        exchanges: exchangesOf(allLevels(levels).levels, context),
        source: { label: "rebuilt", beside: { label: "source", pixels: stored(1) } },
        target: { label: "rebuilt", beside: { label: "target", pixels: stored(0) } },
        rowLabels: pairs.map(([t, s]) => `target ${names[t]}, source ${names[s]}`),
        title: `The target with the source's encoded latents at k: ${label}`,
      });
      const { split } = source;
      return { ...drawing, settings: { latents: "encoded", split, images: indices, ...drawing.settings } };
    } finally {
      for (const tensor of made) tensor.dispose();
    }
  },
});
