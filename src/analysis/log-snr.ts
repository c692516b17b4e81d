/** Figure `log-snr`: how much of the images is left at each step of a chain (DAED, figures 1 and 7). */
import { setImmediate as turn } from "node:timers/promises";
import { cosineBetas, linearBetas } from "../diffusion/chain/betas.js";
import { logPower, logSnr, logSnrChanges } from "../diffusion/chain/log-snr.js";
import { chainTables } from "../diffusion/chain/tables.js";
import type { DiffusionSystem } from "../diffusion/system.js";
import { lineChart, panels } from "../plot/index.js";
import { noGrad, scope } from "../torch/index.js";
import { anyChain } from "./chains.js";
import { batchesOf, defineFigure, type FigureContext } from "./figure.js";

/** Betas closer than this are those of one schedule. */
const SAME = 1e-9;

interface NamedBetas {
  readonly name: string;
  readonly betas: readonly number[];
}

/** The linear and the cosine schedule of as many steps where there are such ones, and the model's own if it is another. */
function comparedBetas(own: readonly number[]): readonly NamedBetas[] {
  const isOwn = ({ betas }: NamedBetas) =>
    betas.every((beta, t) => Math.abs(beta - (own[t] as number)) < SAME);
  const usual = [
    { name: "linear", betas: linearBetas(own.length) },
    { name: "cosine", betas: cosineBetas(own.length) },
  ].filter(({ betas }) => betas.every((beta) => beta > 0 && beta < 1));
  const named = usual.map((each) => (isOwn(each) ? { ...each, name: `${each.name} (this model)` } : each));
  return usual.some(isOwn) ? named : [...named, { name: "this model", betas: own }];
}

/** Where a falling curve of T values passes 0, as a part of T; null where it does not. */
export function crossing(values: ArrayLike<number>): number | null {
  const below = Array.from(values).findIndex((value) => value < 0);
  if (below < 1) return null;
  const [before, after] = [values[below - 1], values[below]] as [number, number];
  return (below - 1 + before / (before - after)) / values.length;
}

/** `ln m` of the first `count` images, m the mean square of an image's pixels as the system encodes them. */
export async function logPowers(
  { system, openImages, batchSize, onProgress, signal }: FigureContext<DiffusionSystem>,
  count?: number,
): Promise<{ readonly powers: readonly number[]; readonly split: string }> {
  const { source, read } = await openImages();
  const images = Math.min(count ?? source.length, source.length);
  const powers: number[] = [];
  for (const indices of batchesOf(images, batchSize)) {
    signal?.throwIfAborted();
    powers.push(...scope(() => noGrad(() => logPower(system.encode(read(indices).pixels)).toArray())));
    onProgress?.(powers.length, images);
    await turn();
  }
  return { powers, split: source.split };
}

/** Draws `logSNR(t) = ln abar_t - ln(1 - abar_t) + ln m` over images, and how much it falls from step to step. */
export const logSnrFigure = defineFigure({
  name: "log-snr",
  summary: "log-SNR of the images along linear and cosine chains, and its change from step to step",
  needs: "config",
  of: anyChain,
  async draw(context) {
    const { label, system, request } = context;
    const { powers, split } = await logPowers(context, request.images);
    const T = system.steps;
    const curves = comparedBetas([...system.chain.tables.betas]).map(({ name, betas }) => {
      const tables = chainTables(betas);
      const { mean, deviation } = logSnr(tables, powers);
      return { name, mean, deviation, changes: logSnrChanges(tables), crosses: crossing(mean) };
    });
    const parts = Array.from({ length: T }, (_, t) => t / T);
    const crossings = curves
      .filter(({ crosses }) => crosses !== null)
      .map(({ name, crosses }) => `${name} at ${crosses?.toFixed(3)}`);
    const chart = panels([
      lineChart({
        title: "How much of the images is left",
        subtitle:
          `${label}; mean over ${powers.length.toLocaleString("en-US")} ${split} images, band: ± 1 standard deviation` +
          (crossings.length > 0 ? `; as much signal as noise: ${crossings.join(", ")}` : ""),
        x: { label: `t / T, T = ${T}`, domain: [0, 1] },
        y: { label: "log-SNR" },
        series: curves.map(({ name, mean, deviation }) => ({
          name,
          x: parts,
          y: mean,
          low: mean.map((value) => value - deviation),
          high: mean.map((value) => value + deviation),
        })),
      }),
      lineChart({
        title: "How much of it a step takes",
        subtitle: "−(logSNR(t) − logSNR(t − 1)), the same for every image",
        x: { label: `t / T, T = ${T}`, domain: [0, 1] },
        y: { label: "fall of the log-SNR", scale: "log" },
        series: curves.map(({ name, changes }) => ({
          name,
          x: parts.slice(1),
          y: changes.map((change) => -change),
        })),
      }),
    ]);
    const rows = curves.flatMap(({ name, mean, deviation, changes }) =>
      parts.map((part, t) => ({
        ...{ schedule: name, t, part, mean: mean[t] as number, deviation },
        ...(t > 0 ? { change: changes[t - 1] as number } : {}),
      })),
    );
    const settings = {
      ...{ images: powers.length, split, steps: T },
      schedules: curves.map(({ name, crosses, deviation, changes }) => ({
        ...{ schedule: name, crossesZeroAt: crosses, deviation },
        changes: {
          first: Array.from(changes.subarray(0, 3)),
          afterTenth: changes[Math.round(T / 10)] ?? null,
          last: changes.at(-1) ?? null,
        },
      })),
    };
    return { kind: "chart", chart, rows, settings };
  },
});
