/** Figure `training-curves`: bits/dim against steps and minutes of several runs, and when each reaches the first's bound. */
import { UserError } from "../errors.js";
import { type Axis, type LineSeries, lineChart, panels } from "../plot/index.js";
import { anySystem, type Drawing, defineFigure, type FigureSubject, type Row } from "./figure.js";
import { type Clock, firstReach, type Reading, readingsOf, smoothed } from "./reach.js";

/** The running mean is over a tenth of the first run's steps: long enough to smooth batches, short beside the training. */
const SMOOTHED_PART = 0.1;

type Recorded = Pick<FigureSubject, "name" | "records">;

interface Curve {
  readonly name: string;
  readonly raw: readonly Reading[];
  readonly smooth: readonly Reading[];
  readonly measured: readonly Reading[];
  readonly reach: Reading | undefined;
}

/** Processor time where all runs recorded it and trained on one; else the time on the wall. */
function clockOf(runs: readonly Recorded[]): Clock {
  const onProcessor = ({ records }: Recorded) =>
    records.every(({ event, provenance, cpuSeconds }) => {
      if (event === "train") return typeof cpuSeconds === "number";
      if (typeof provenance !== "object" || provenance === null || !("device" in provenance)) return true;
      return provenance.device === "cpu";
    });
  return runs.every(onProcessor) ? "cpuSeconds" : "seconds";
}

/** The smoothed training bound of every run; the target is where that of the first one ends. */
function curvesOf(runs: readonly Recorded[]) {
  const clock = clockOf(runs);
  const raw = runs.map(({ records }) => readingsOf(records, "train", clock));
  const window = Math.max(1, Math.round(SMOOTHED_PART * (raw[0]?.at(-1)?.step ?? 0)));
  const smooth = raw.map((readings) => smoothed(readings, window));
  const target = smooth[0]?.at(-1)?.bitsPerDim ?? Number.NaN;
  const curves = runs.map(
    ({ name, records }, i): Curve => ({
      name,
      raw: raw[i] ?? [],
      smooth: smooth[i] ?? [],
      measured: readingsOf(records, "evaluate", clock),
      reach: firstReach(smooth[i] ?? [], target),
    }),
  );
  return { curves, target, window, clock };
}

function panel(
  curves: readonly Curve[],
  key: "step" | "minutes",
  o: { readonly title: string; readonly subtitle: string; readonly x: Axis; readonly target: number },
) {
  const x = (readings: readonly Reading[]) => readings.map((reading) => reading[key]);
  const ends = curves.flatMap(({ smooth }) => x(smooth));
  const series = curves.flatMap(({ name, smooth, measured }): LineSeries[] => {
    const error = (reading: Reading) => reading.standardError ?? 0;
    return [
      { name, x: x(smooth), y: smooth.map(({ bitsPerDim }) => bitsPerDim) },
      ...(measured.length > 0
        ? [
            {
              name: `${name}, measured`,
              x: x(measured),
              y: measured.map(({ bitsPerDim }) => bitsPerDim),
              low: measured.map((reading) => reading.bitsPerDim - error(reading)),
              high: measured.map((reading) => reading.bitsPerDim + error(reading)),
              mark: "points" as const,
            },
          ]
        : []),
    ];
  });
  const reached = curves.flatMap(({ reach }) => (reach ? [reach] : []));
  const across = [Math.min(...ends), Math.max(...ends)];
  return lineChart({
    title: o.title,
    subtitle: o.subtitle,
    height: 400,
    x: o.x,
    y: { label: "bits/dim", scale: "log" },
    series: [
      ...series,
      { name: `${curves[0]?.name ?? ""} at its end`, x: across, y: across.map(() => o.target) },
      {
        name: "reached",
        x: x(reached),
        y: reached.map(({ bitsPerDim }) => bitsPerDim),
        mark: "points",
      },
    ],
  });
}

/** As the figure draws it; the first run is the control. */
export function drawTrainingCurves(runs: readonly Recorded[]): Drawing {
  const { curves, target, window, clock } = curvesOf(runs);
  const control = curves[0];
  const end = control?.smooth.at(-1);
  const reach = curves.map(({ name, reach }) => ({
    run: name,
    step: reach?.step ?? null,
    minutes: reach?.minutes ?? null,
    partOfSteps: reach && end ? reach.step / end.step : null,
    partOfMinutes: reach && end ? reach.minutes / end.minutes : null,
  }));
  const told = reach
    .slice(1)
    .map(({ run, step, partOfSteps }) =>
      step === null || partOfSteps === null
        ? `${run} does not reach it`
        : `${run} at step ${step.toLocaleString("en-US")} (${Math.round(100 * partOfSteps)} %)`,
    );
  const chart = panels([
    panel(curves, "step", {
      title: "Training bound against steps",
      subtitle: `running mean over ${window} steps; ${control?.name ?? ""} ends at ${target.toFixed(3)} bits/dim${
        told.length > 0 ? `: ${told.join(", ")}` : ""
      }`,
      x: { label: "step" },
      target,
    }),
    panel(curves, "minutes", {
      title: "Training bound against time",
      subtitle:
        clock === "cpuSeconds"
          ? "processor time of all threads since the start"
          : "time since the start, which what else the machine does may lengthen",
      x: { label: "minutes" },
      target,
    }),
  ]);
  const rows = curves.flatMap(({ name, raw, smooth, measured }): Row[] => [
    ...raw.map(({ step, minutes, bitsPerDim }, i) => ({
      run: name,
      event: "train",
      step,
      minutes,
      bitsPerDim,
      smoothed: smooth[i]?.bitsPerDim ?? Number.NaN,
    })),
    ...measured.map((reading) => ({ run: name, event: "evaluate", ...reading })),
  ]);
  const settings = { runs: runs.map(({ name }) => name), smoothedOverSteps: window, target, clock, reach };
  return { kind: "chart", chart, rows, settings };
}

/** @throws UserError where a run was trained on another loss than a bound */
function checkBounds(runs: readonly Recorded[]): void {
  for (const { name, records } of runs) {
    const unit = records.find(({ event }) => event === "train")?.lossUnit;
    if (unit !== undefined)
      throw new UserError(
        `expected runs trained on a bound in bits/dim for figure "training-curves", got ${name}, trained on ${unit}: draw its losses instead`,
      );
  }
}

export const trainingCurves = defineFigure({
  name: "training-curves",
  summary:
    "bits/dim against steps and minutes for this run and those of --with, and steps to reach this one's end",
  needs: "other runs",
  of: anySystem,
  async draw(context) {
    const runs = [context, ...context.others];
    checkBounds(runs);
    return drawTrainingCurves(runs);
  },
});
