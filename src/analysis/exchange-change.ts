/** Figure `exchange-change`: how much of an image the latents of each level decide, coarse and fine. */
import type { LatentExchange } from "../diffusion/cold/exchange.js";
import { UserError } from "../errors.js";
import { type Estimate, estimate } from "../experiment/evaluation.js";
import { barChart, type Chart, panels } from "../plot/index.js";
import type { VariationalColdDiffusion } from "../systems/vcd.js";
import { latentSystem } from "./cold-walks.js";
import { bandEnergies, bandNames } from "./exchange-bands.js";
import { changeMeasured } from "./exchange-grid.js";
import {
  allLevels,
  disposePairs,
  drawnPairs,
  exchangedImages,
  exchangesOf,
  visitedLevels,
} from "./exchange-walks.js";
import { batchesOf, defineFigure, type FigureContext, type FigureSubject, type Row } from "./figure.js";

type Run = FigureSubject<VariationalColdDiffusion>;

const PAIRS = 64;

/** `||x(j) - x||^2` of one exchange: of each band from coarse to fine, and of all frequencies. */
interface Change {
  readonly exchange: LatentExchange;
  readonly bands: readonly Estimate[];
  readonly total: Estimate;
}

/** @throws UserError where one of the runs has no latents, or other levels than the first */
function latentRuns(context: FigureContext<VariationalColdDiffusion>): readonly Run[] {
  const { levels } = context.system;
  const others = context.others.map((other): Run => {
    const { system } = other;
    if (!latentSystem.fits(system))
      throw new UserError(
        `expected ${latentSystem.words} for figure "exchange-change", got one without (${other.label}): leave that run out`,
      );
    if (system.levels !== levels)
      throw new UserError(
        `expected runs of ${levels} levels to compare level by level, got ${system.levels} of ${other.name}: leave it out`,
      );
    return { ...other, system };
  });
  return [context, ...others];
}

/** Each pair has a start and a noise of its own, the same for every exchange. */
async function measureChanges(
  { system }: Run,
  exchanges: readonly LatentExchange[],
  o: {
    readonly context: FigureContext<VariationalColdDiffusion>;
    readonly count: number;
    onImages(count: number): void;
  },
): Promise<readonly Change[]> {
  const context = { ...o.context, system };
  const energies = exchanges.map(() => new Float64Array(o.count * bandNames.length));
  for (const [b, indices] of [...batchesOf(o.count, context.batchSize)].entries()) {
    const { length } = indices;
    const rows = indices.map((_, row) => [row, row] as const);
    const pairs = drawnPairs(context, context.streams.at(b), {
      ...{ targets: length, sources: length, rows, shared: [] },
    });
    try {
      const target = await exchangedImages(context, pairs, { exchanged: [], see: (x) => x.clone() });
      o.onImages(length);
      try {
        for (const [e, { levels }] of exchanges.entries()) {
          const found = await exchangedImages(context, pairs, {
            exchanged: levels,
            see: (x) => bandEnergies(x.sub(target)).toArray(),
          });
          energies[e]?.set(found, (indices[0] as number) * bandNames.length);
          o.onImages(length);
        }
      } finally {
        target.dispose();
      }
    } finally {
      disposePairs(pairs);
    }
  }
  return exchanges.map((exchange, e) => changeOf(exchange, energies[e] as Float64Array));
}

/** Of energies `[pairs, bands]`. */
function changeOf(exchange: LatentExchange, energies: Float64Array): Change {
  const bands = bandNames.map((_, band) => energies.filter((_, i) => i % bandNames.length === band));
  const totals = bands[0]?.map((_, pair) => bands.reduce((sum, values) => sum + (values[pair] ?? 0), 0));
  return { exchange, bands: bands.map(estimate), total: estimate(totals ?? []) };
}

function barsOf(name: string, values: readonly Estimate[]) {
  return {
    name,
    y: values.map(({ mean }) => mean),
    low: values.map(({ mean, standardError }) => mean - standardError),
    high: values.map(({ mean, standardError }) => mean + standardError),
  };
}

interface Measured {
  readonly run: Run;
  /** The last of them is that of all levels. */
  readonly changes: readonly Change[];
}

/** The change by exchange, of all runs, and of each run by band. */
function chartOf(measured: readonly Measured[], count: number): Chart {
  const whole = measured.map(({ run, changes }) => {
    const { mean, standardError } = (changes.at(-1) as Change).total;
    const error = Number.isFinite(standardError) ? ` ± ${standardError.toPrecision(2)}` : "";
    const value = mean.toPrecision(3) + error;
    return measured.length > 1 ? `${run.name} ${value}` : value;
  });
  const parts = measured.map(({ run, changes }) => ({ run, changes: changes.slice(0, -1) }));
  const axes = {
    x: { label: "levels with the source's latent" },
    y: { label: "||x(j) - x||²" },
    categories: parts[0]?.changes.map(({ exchange }) => exchange.name) ?? [],
  };
  return panels([
    barChart({
      title: "Change by the latents of other images",
      subtitle: `${count} pairs; bars: ± 1 standard error; all levels at once: ${whole.join(", ")}`,
      ...axes,
      series: parts.map(({ run, changes }) =>
        barsOf(
          run.name,
          changes.map(({ total }) => total),
        ),
      ),
    }),
    ...parts.map(({ run, changes }) =>
      barChart({
        title: "By frequency",
        subtitle: `${run.name}; parts of the highest frequency along an axis`,
        ...axes,
        series: bandNames.map((name, band) =>
          barsOf(
            name,
            changes.map(({ bands }) => bands[band] as Estimate),
          ),
        ),
      }),
    ),
  ]);
}

/** A line for each band of each exchange, and for all frequencies. */
function rowsOf({ run, changes }: Measured): readonly Row[] {
  return changes.flatMap(({ exchange, bands, total }) => {
    const values = [
      ...bandNames.map((name, band) => [name, bands[band] as Estimate] as const),
      ["all", total] as const,
    ];
    return values.map(([band, { mean, standardError }]) => ({
      ...{ run: run.name, exchanged: exchange.name, band, change: mean, standardError },
    }));
  });
}

export const exchangeChange = defineFigure({
  name: "exchange-change",
  summary:
    "how much an image changes with the latents of each level, by frequency, for this run and those of --with",
  needs: "weights",
  of: latentSystem,
  async draw(context) {
    const runs = latentRuns(context);
    const count = context.request.images ?? PAIRS;
    const { levels } = context.system;
    const exchanges = [...exchangesOf(visitedLevels(context), context), allLevels(levels)];
    const total = runs.length * (exchanges.length + 1) * count;
    let done = 0;
    const onImages = (images: number) => {
      done += images;
      context.onProgress?.(done, total);
    };
    const measured: Measured[] = [];
    for (const run of runs)
      measured.push({ run, changes: await measureChanges(run, exchanges, { context, count, onImages }) });

    const { sampler, steps } = context.sampling;
    const settings = {
      ...{ pairs: count, sampler, steps, batchSize: context.batchSize },
      change: changeMeasured,
      bands: "octaves of sqrt((i / H)^2 + (j / W)^2) of the orthonormal DCT-II",
      exchanged: exchanges,
      runs: runs.map(({ label }) => label),
    };
    return { kind: "chart", chart: chartOf(measured, count), rows: measured.flatMap(rowsOf), settings };
  },
});
