/** Figure `quality-per-split`: how good samples are for where a DAED hands over to its denoiser (DAED, figure 4). */
import { UserError } from "../errors.js";
import { type QualityResult, qualityCommand, type StoredScore } from "../experiment/quality-results.js";
import { type LineSeries, lineChart } from "../plot/index.js";
import type { ChainDiffusion } from "../systems/chain.js";
import { DAED } from "../systems/daed.js";
import { anyChain, chainName } from "./chains.js";
import { defineFigure, type FigureSubject } from "./figure.js";
import { logPowers } from "./log-snr.js";

interface Judged {
  readonly run: FigureSubject;
  readonly system: ChainDiffusion;
  readonly result: QualityResult;
  readonly fid: StoredScore;
}

/** What distances must agree in to compare; sampling in all of a chain's steps is one setting whatever their number. */
function settingOf({ result, system }: Pick<Judged, "result" | "system">): string {
  const { features, reference, samples, sampler, steps, ema } = result;
  const { fingerprint, split, images } = reference;
  const spacing = steps === system.steps ? "all" : steps;
  return JSON.stringify([features.fingerprint, fingerprint, split, images, samples, sampler, spacing, ema]);
}

/** One result a run, all of the setting that most runs have, then of the most samples; of a run the longest trained. */
function comparable(all: readonly Judged[]): readonly Judged[] {
  const groups = new Map<string, Map<FigureSubject, Judged>>();
  for (const one of all) {
    const key = settingOf(one);
    const group = groups.get(key) ?? new Map<FigureSubject, Judged>();
    groups.set(key, group);
    if (!group.has(one.run)) group.set(one.run, one);
  }
  const samplesOf = (group: ReadonlyMap<unknown, Judged>) => [...group.values()][0]?.result.samples ?? 0;
  const [best] = [...groups.values()].sort((a, b) => b.size - a.size || samplesOf(b) - samplesOf(a));
  return [...(best?.values() ?? [])];
}

/** Points with error bars for the splits of each loss, and a line across for each model that has none. */
function seriesOf(judged: readonly (Judged & { readonly logSnr: number | null })[]): readonly LineSeries[] {
  const band = (of: readonly Judged[]) => ({
    y: of.map(({ fid }) => fid.value),
    low: of.map(({ fid }) => fid.value - (fid.standardError ?? 0)),
    high: of.map(({ fid }) => fid.value + (fid.standardError ?? 0)),
  });
  const splits = judged.flatMap((one) => (one.logSnr === null ? [] : [{ ...one, logSnr: one.logSnr }]));
  const [low, high] = [Math.min, Math.max].map((end) => end(...splits.map((one) => one.logSnr))) as [
    number,
    number,
  ];
  const margin = 0.05 * (high - low) || 1;
  const span = [low - margin, high + margin];
  const losses = [...new Set(judged.map(({ system }) => system.loss))];
  const points = losses.map((loss): LineSeries => {
    const own = splits.filter(({ system }) => system.loss === loss).sort((a, b) => b.logSnr - a.logSnr);
    return {
      name: `DAED, ${loss} loss`,
      x: own.map((one) => one.logSnr),
      ...band(own),
      labels: own.map(({ system }) => `β₁ ${chainName(system).replace("DAED ", "")}`),
      mark: "points",
    };
  });
  const references = judged
    .filter((one) => one.logSnr === null)
    .map(
      (one): LineSeries => ({
        name: `DDGM, ${one.system.loss} loss`,
        x: span,
        ...band([one, one]),
      }),
    );
  return [...points.filter(({ x }) => x.length > 0), ...references];
}

/** Draws the Frechet distance of samples against `ln (1 - beta_1) / beta_1 + E[ln m]`, m an image's mean square. */
export const qualityPerSplit = defineFigure({
  name: "quality-per-split",
  summary:
    "Fréchet distance of samples against the log-SNR at DAED's split, for this run and those of --with",
  needs: "quality results",
  of: anyChain,
  async draw(context) {
    const all = [context, ...context.others] as readonly FigureSubject[];
    const found = all.flatMap((run) => {
      const { system } = run;
      if (!anyChain.fits(system))
        throw new UserError(
          `expected ${anyChain.words} for figure "quality-per-split", got one without (${run.label}): leave that run out`,
        );
      return run.qualityResults().flatMap((result): Judged[] => {
        const { fid } = result.scores;
        return fid ? [{ run, system, result, fid }] : [];
      });
    });
    const chosen = comparable(found);
    const [one] = chosen;
    const lacking = all.filter((run) => !chosen.some((each) => each.run === run));
    const commands = lacking.map((run) => qualityCommand(run.path, one?.result));
    if (!one)
      throw new UserError(
        `expected results of quality for figure "quality-per-split", found none; run: ${commands.join("; ")}`,
      );

    const { powers, split } = await logPowers(context, context.request.images);
    const power = powers.reduce((sum, value) => sum + value / powers.length, 0);
    const judged = chosen.map((each) => {
      const beta = each.system instanceof DAED ? each.system.firstBeta : undefined;
      return { ...each, logSnr: beta === undefined ? null : Math.log((1 - beta) / beta) + power };
    });
    if (judged.every(({ logSnr }) => logSnr === null))
      throw new UserError(
        'expected results of a DAED for figure "quality-per-split", got a DDGM\'s alone: add --with RUN',
      );
    const { samples, sampler, reference } = one.result;
    const chart = lineChart({
      title: "Sample quality against the split",
      subtitle:
        `${one.fid.label}, lower is better: ${samples.toLocaleString("en-US")} samples, ${sampler}, against ` +
        `${reference.images.toLocaleString("en-US")} ${reference.split} images; ± 1 standard error` +
        (lacking.length > 0 ? `; not measured so: ${lacking.map(({ name }) => name).join(", ")}` : ""),
      width: 640,
      height: 420,
      x: { label: "log-SNR of the images at the split" },
      y: { label: one.fid.label },
      series: seriesOf(judged),
    });
    const rows = judged.map(({ run, system, result, fid, logSnr }) => ({
      ...{ run: run.name, model: chainName(system), loss: system.loss },
      ...(logSnr === null ? {} : { logSnr }),
      distance: fid.value,
      ...(fid.standardError === null ? {} : { standardError: fid.standardError }),
      ...(fid.floor === null ? {} : { realImages: fid.floor }),
      ...{ step: result.step, samplingSteps: result.steps },
    }));
    const settings = {
      ...{ metric: one.fid.label, features: one.result.features, samples, sampler, reference },
      logPower: { mean: power, images: powers.length, split },
      lacking: commands,
    };
    return { kind: "chart", chart, rows, settings };
  },
});
