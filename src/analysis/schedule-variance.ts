/** Figure `schedule-variance`: how much the noise schedule of a pixel differs from latent to latent (MuLAN, figure 3). */
import { type DiffusionSystem, hasPixelSchedule, type PixelSchedule } from "../diffusion/system.js";
import { lineChart, panels } from "../plot/index.js";
import { defineFigure } from "./figure.js";
import { curvesOf, grid, overTimes, pixelColumns, spreadOf } from "./pixel-gamma.js";

/** z drawn from the prior, as in the paper. */
const LATENTS = 128;
const TIMES = 128;

/** For figures of per-pixel schedules. */
export const perPixelSchedule = {
  fits: (system: DiffusionSystem): system is DiffusionSystem & PixelSchedule => hasPixelSchedule(system),
  words: "a system with a noise schedule for every pixel",
};

/**
 * The sample variance over z ~ p(z) of gamma(z, t), one curve for each pixel. The paper's caption speaks of nu =
 * exp(-gamma), which spans six decades: of its decimal logarithm the variance is that of gamma over (ln 10)^2.
 */
export const scheduleVariance = defineFigure({
  name: "schedule-variance",
  summary: "variance of gamma over latents from the prior, one curve a pixel",
  needs: "weights",
  of: perPixelSchedule,
  async draw({ label, system, request, streams, device }) {
    const times = grid(request.times ?? TIMES);
    const size = { count: LATENTS, shape: system.shape, device };
    const variances = overTimes(
      () => system.priorCurve(LATENTS, streams.at(0)),
      times,
      size,
      (gamma) => gamma.variance([0]).toArray(),
    );
    const means = variances.map((values) => spreadOf(values).mean);
    const x = { label: "t", domain: [0, 1] } as const;
    const panel = (title: string, subtitle: string, axis: string, factor: number) =>
      lineChart({
        title,
        subtitle,
        x,
        y: { label: axis },
        bundle: {
          name: "pixels",
          x: times,
          curves: curvesOf(variances).map((curve) => curve.map((value) => value * factor)),
        },
        series: [{ name: "mean over pixels", x: times, y: means.map((value) => value * factor) }],
      });
    const chart = panels([
      panel(
        "Variance of the schedule over latents",
        `${label}; ${LATENTS} z from the prior`,
        "Var γ(z, t)",
        1,
      ),
      panel("The same of SNR in decades", "log₁₀ ν = −γ / ln 10", "Var log₁₀ ν(z, t)", 1 / Math.LN10 ** 2),
    ]);
    const rows = times.map((t, k) => {
      const values = variances[k] ?? [];
      const { mean, low, high } = spreadOf(values);
      return {
        t,
        mean,
        low,
        high,
        meanOfLog10Snr: mean / Math.LN10 ** 2,
        ...pixelColumns(values, system.shape),
      };
    });
    return { kind: "chart", chart, rows, settings: { latents: LATENTS, times: times.length } };
  },
});
