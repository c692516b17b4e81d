/** Figure `estimator-variance`: how far one draw of the bound scatters, for schedules with the same end points. */
import { setImmediate as turn } from "node:timers/promises";
import { bitsPerDim, totalBound } from "../diffusion/likelihood/bound.js";
import { FixedLinear, type NoiseSchedule } from "../diffusion/schedule/index.js";
import {
  type Batch,
  type BoundContext,
  type BoundedLikelihood,
  type DiffusionSystem,
  hasBound,
  hasPerTimeLoss,
  hasSharedSchedule,
  type PerTimeLoss,
  type SharedSchedule,
} from "../diffusion/system.js";
import { sampleTimes } from "../diffusion/times.js";
import { type Estimate, estimate } from "../experiment/evaluation.js";
import { barChart, lineChart, panels } from "../plot/index.js";
import { linspace, noGrad, scope, type Tensor } from "../torch/index.js";
import { AlphaCosine, BetaLinear } from "./comparison-schedules.js";
import { batchesOf, defineFigure, type FigureContext } from "./figure.js";
import { retimed } from "./retiming.js";

type Measurable = DiffusionSystem & BoundedLikelihood & PerTimeLoss & SharedSchedule;

function isMeasurable(system: DiffusionSystem): system is Measurable {
  return hasBound(system) && hasPerTimeLoss(system) && hasSharedSchedule(system);
}

interface Compared {
  readonly name: string;
  readonly schedule: NoiseSchedule;
  /** gamma at the times of the chart. */
  readonly gamma: readonly number[];
}

const CURVE_TIMES = 101;

/** The system's own schedule and the usual ones between its end points; a usual one that it is itself stands once. */
function compared(own: NoiseSchedule, device: string): readonly Compared[] {
  const curve = (schedule: NoiseSchedule): readonly number[] =>
    scope(() =>
      noGrad(() => schedule.at(linspace(0, 1, CURVE_TIMES, { dtype: "float64", device })).gamma.toArray()),
    );
  const gamma = curve(own);
  const [gammaMin = 0, gammaMax = 0] = [gamma[0], gamma.at(-1)];
  const ends = { gammaMin, gammaMax };
  const usual = [
    { name: "log-SNR-linear", schedule: new FixedLinear(ends) },
    { name: "beta-linear", schedule: new BetaLinear(ends) },
    { name: "alpha-cosine", schedule: new AlphaCosine(ends) },
  ].map((each) => ({ ...each, gamma: curve(each.schedule) }));
  const same = (other: Compared) => other.gamma.every((g, i) => Math.abs(g - (gamma[i] ?? g)) < 1e-4);
  const itself = usual.find(same);
  return [
    { name: itself ? `${itself.name} (own)` : "own", schedule: own, gamma },
    ...usual.filter((each) => each !== itself),
  ];
}

/** What is drawn for one schedule: bits/dim and its square for each image, pass by pass. */
export interface ScheduleDraws {
  /** The bound at a time that is uniform for this schedule. */
  readonly bound: readonly Float64Array[];
  /** The bound's square, its expectation under this schedule being that of these numbers. */
  readonly square: readonly Float64Array[];
}

/**
 * One draw for every schedule, all with the same images, noise and uniform numbers `t` `[B]`. The squares of a schedule
 * that rushes somewhere have a tail that few draws of its own times would ever hit; so they are all computed from D, the
 * diffusion term at the system's own times, to which the levels gamma are common:
 *
 *   E_s[(R + D_s)^2] = E_own[R^2 + 2 R D + D^2 s'(gamma) / own'(gamma)]
 *
 * where R is the rest of the bound and s' the speed of a schedule where it is at gamma.
 */
function drawBounds(
  system: Measurable,
  schedules: readonly Compared[],
  batch: Batch,
  o: { readonly t: Tensor; readonly draws: BoundContext; readonly dimensions: number },
): readonly { readonly bound: readonly number[]; readonly square: readonly number[] }[] {
  const bits = (nats: Tensor) => bitsPerDim(nats, o.dimensions);
  const bound = system.bound(batch, o.draws);
  const rest = bits(totalBound(bound).sub(bound.diffusion));
  const own = bits(system.diffusionAt(batch, o.t, o.draws));
  return schedules.map(({ schedule }) => {
    const isOwn = schedule === system.schedule;
    const { t, rate } = retimed(system.schedule, schedule, o.t);
    const diffusion = isOwn ? own : bits(system.diffusionAt(batch, t, o.draws)).mul(rate);
    const slowness = retimed(schedule, system.schedule, o.t).rate;
    const square = rest.square().add(rest.mul(own).mul(2)).add(own.square().div(slowness));
    return { bound: rest.add(diffusion).toArray(), square: square.toArray() };
  });
}

/**
 * The mean over all draws of each schedule, with the standard error that independent draws would have, and how far one
 * of them scatters, with a standard error from how passes differ. The first schedule is the system's own.
 */
export function meansAndDeviations(
  schedules: readonly ScheduleDraws[],
): readonly { readonly mean: Estimate; readonly deviation: Estimate }[] {
  const average = (values: Float64Array) => values.reduce((sum, value) => sum + value / values.length, 0);
  const own = (schedules[0]?.bound ?? []).map(average);
  const centre = estimate(own).mean;
  return schedules.map(({ bound, square }) => {
    // E[(L - c)^2] = E[L^2] - 2 c E[L] + c^2, where E[L] is the same for all.
    const variance = estimate(
      square.map((pass, k) => average(pass) - 2 * centre * (own[k] ?? Number.NaN) + centre ** 2),
    );
    const deviation = Math.sqrt(Math.max(0, variance.mean));
    const draws = bound.reduce((sum, pass) => sum + pass.length, 0);
    return {
      mean: { mean: estimate(bound.map(average)).mean, standardError: deviation / Math.sqrt(draws) },
      // sd(sqrt(v)) = sd(v) / (2 sqrt(v))
      deviation: { mean: deviation, standardError: variance.standardError / (2 * deviation) },
    };
  });
}

async function measure(
  context: FigureContext<Measurable>,
  schedules: readonly Compared[],
  o: { readonly images: number; readonly passes: number },
): Promise<readonly ScheduleDraws[]> {
  const { system, pass, device, streams } = context;
  const { read } = await context.openImages();
  const dimensions = system.shape.reduce((product, n) => product * n, 1);
  const empty = () => Array.from({ length: o.passes }, () => new Float64Array(o.images));
  const values = schedules.map(() => ({ bound: empty(), square: empty() }));
  let done = 0;
  for (let k = 0; k < o.passes; k++)
    for (const [b, indices] of [...batchesOf(o.images, context.batchSize)].entries()) {
      context.signal?.throwIfAborted();
      const ofBatch = streams.at(k).at(b);
      const drawn = scope(() =>
        noGrad(() => {
          const t = sampleTimes("low-discrepancy", indices.length, ofBatch.generator("shared times"), "cpu");
          const draws = { streams: ofBatch, pass, steps: 0 };
          return drawBounds(system, schedules, read(indices), { t: t.toDevice(device), draws, dimensions });
        }),
      );
      for (const [s, { bound, square }] of drawn.entries()) {
        values[s]?.bound[k]?.set(bound, indices[0]);
        values[s]?.square[k]?.set(square, indices[0]);
      }
      done += indices.length * (schedules.length + 1);
      context.onProgress?.(done, o.passes * o.images * (schedules.length + 1));
      await turn();
    }
  return values;
}

/**
 * The continuous bound is the same for every schedule between two end points; the variance of its estimate is not
 * (VDM, figure 4). The time of each draw is uniform; those of a batch are evenly spread, so that the means are closer
 * together than their standard errors say.
 */
export const estimatorVariance = defineFigure({
  name: "estimator-variance",
  summary: "deviation of one draw of the bound for schedules with the same end points",
  needs: "weights",
  of: { fits: isMeasurable, words: "a system with a bound and one noise schedule for all pixels" },
  async draw(context) {
    const { label, system, request, device } = context;
    const { source } = await context.openImages();
    const images = Math.min(request.images ?? 64, source.length);
    const passes = request.passes ?? 16;
    const schedules = compared(system.schedule, device);
    const values = await measure(context, schedules, { images, passes });
    const results = meansAndDeviations(values);

    const names = schedules.map(({ name }) => name);
    const times = Array.from({ length: CURVE_TIMES }, (_, i) => i / (CURVE_TIMES - 1));
    const bars = (of: readonly Estimate[]) => ({
      y: of.map(({ mean }) => mean),
      low: of.map(({ mean, standardError }) => mean - standardError),
      high: of.map(({ mean, standardError }) => mean + standardError),
    });
    const size = { width: 500, height: 380 };
    const chart = panels([
      lineChart({
        ...size,
        title: "Schedules with the same end points",
        subtitle: label,
        x: { label: "t", domain: [0, 1] },
        y: { label: "γ(t)" },
        series: schedules.map(({ name, gamma }) => ({ name, x: times, y: gamma })),
      }),
      barChart({
        ...size,
        title: "How far one draw of the bound scatters",
        subtitle: `${images} ${source.split} images, ${passes} draws each; bars: ± 1 standard error`,
        x: { label: "schedule" },
        y: { label: "standard deviation (bits/dim)" },
        categories: names,
        series: [{ name: "deviation", ...bars(results.map(({ deviation }) => deviation)) }],
      }),
      barChart({
        ...size,
        title: "The bound itself",
        subtitle: "mean of the same draws: equal up to the error of the estimate",
        x: { label: "schedule" },
        y: { label: "bits/dim" },
        categories: names,
        series: [{ name: "bound", ...bars(results.map(({ mean }) => mean)) }],
      }),
    ]);
    const rows = results.map(({ mean, deviation }, i) => ({
      schedule: names[i] ?? "",
      bitsPerDim: mean.mean,
      standardError: mean.standardError,
      standardDeviation: deviation.mean,
      standardDeviationError: deviation.standardError,
      variance: deviation.mean ** 2,
    }));
    return { kind: "chart", chart, rows, settings: { images, passes, split: source.split } };
  },
});
