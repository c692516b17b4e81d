/** Figure `schedule`: gamma(t) and the signal-to-noise ratio. */
import { FixedLinear, type NoiseSchedule } from "../diffusion/schedule/index.js";
import { type DiffusionSystem, hasSharedSchedule, type SharedSchedule } from "../diffusion/system.js";
import { lineChart, panels } from "../plot/index.js";
import { linspace, noGrad, scope } from "../torch/index.js";
import { defineFigure } from "./figure.js";

/** Curves closer than this all the way cannot be told apart in the chart. */
const SAME = 0.02;

/** gamma and gamma' of a schedule at `count` times from 0 to 1. */
function tabulate(schedule: NoiseSchedule, count: number, device: string) {
  return scope(() =>
    noGrad(() => {
      const { gamma, dGamma } = schedule.at(linspace(0, 1, count, { dtype: "float64", device }));
      return { gamma: gamma.toArray(), dGamma: dGamma.toArray() };
    }),
  );
}

/** Draws the schedule beside the straight line between its end points, and beside itself before training. */
export const schedule = defineFigure<DiffusionSystem & SharedSchedule>({
  name: "schedule",
  summary: "gamma(t) and SNR(t), beside the start of training and the straight line",
  needs: "config",
  of: { fits: hasSharedSchedule, words: "a system with one noise schedule for all pixels" },
  async draw({ label, system, initial, request, device }) {
    const count = request.times ?? 201;
    const t = Array.from({ length: count }, (_, i) => i / Math.max(1, count - 1));
    const own = tabulate(system.schedule, count, device);
    const [gammaMin = 0, gammaMax = 0] = [own.gamma[0], own.gamma.at(-1)];
    const line = tabulate(new FixedLinear({ gammaMin, gammaMax }), count, device);
    const before = initial();
    const start = before && hasSharedSchedule(before) ? tabulate(before.schedule, count, device) : undefined;

    const differs = (gamma: readonly number[]) =>
      gamma.some((value, i) => Math.abs(value - (own.gamma[i] ?? value)) > SAME);
    const curves = [
      { name: "this model", column: "gamma", gamma: own.gamma },
      { name: "before training", column: "gammaBeforeTraining", gamma: start?.gamma ?? [] },
      { name: "straight line", column: "gammaStraightLine", gamma: line.gamma },
    ].filter(({ gamma }) => gamma === own.gamma || differs(gamma));

    const ends = (gamma: readonly number[]) =>
      `from ${[gamma[0], gamma.at(-1)].map((g) => g?.toFixed(2).replace("-", "−")).join(" to ")}`;
    const moved = start && differs(start.gamma) ? ` (before training ${ends(start.gamma)})` : "";
    const chart = panels([
      lineChart({
        title: "Noise schedule γ(t) = −ln SNR(t)",
        subtitle: `${label}; γ ${ends(own.gamma)}${moved}`,
        x: { label: "t", domain: [0, 1] },
        y: { label: "γ(t)" },
        series: curves.map(({ name, gamma }) => ({ name, x: t, y: gamma })),
      }),
      lineChart({
        title: "Signal-to-noise ratio",
        subtitle: "SNR(t) = α²(t) / σ²(t) = exp(−γ(t))",
        x: { label: "t", domain: [0, 1] },
        y: { label: "SNR(t)", scale: "log" },
        series: curves.map(({ name, gamma }) => ({ name, x: t, y: gamma.map((g) => Math.exp(-g)) })),
      }),
    ]);
    const rows = t.map((time, i) => {
      const gamma = own.gamma[i] ?? Number.NaN;
      const others = curves.slice(1).map((curve) => [curve.column, curve.gamma[i] ?? Number.NaN] as const);
      return {
        t: time,
        gamma,
        dGamma: own.dGamma[i] ?? Number.NaN,
        snr: Math.exp(-gamma),
        alpha2: 1 / (1 + Math.exp(gamma)),
        sigma2: 1 / (1 + Math.exp(-gamma)),
        ...Object.fromEntries(others),
      };
    });
    return { kind: "chart", chart, rows, settings: { times: count } };
  },
});
