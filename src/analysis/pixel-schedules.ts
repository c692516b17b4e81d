/** Figure `pixel-schedules`: the noise schedules of all pixels of a few images, beside the straight line. */
import { type LineSeries, lineChart, panels } from "../plot/index.js";
import { defineFigure } from "./figure.js";
import { curvesOf, grid, lineOf, overTimes, pixelColumns, spreadOf } from "./pixel-gamma.js";
import { perPixelSchedule } from "./schedule-variance.js";

const IMAGES = 3;
const TIMES = 41;

/** gamma_i(z, t) with z the most likely latent of the image; its distance from the line shows what was learned. */
export const pixelSchedules = defineFigure({
  name: "pixel-schedules",
  summary: "gamma of every pixel of a few images, beside the straight line",
  needs: "weights",
  of: perPixelSchedule,
  async draw({ label, system, request, openImages, device }) {
    const { source, read } = await openImages();
    const count = Math.min(request.images ?? IMAGES, source.length);
    const times = grid(request.times ?? TIMES);
    const indices = Array.from({ length: count }, (_, i) => i);
    const one = { count: 1, shape: system.shape, device };
    const line = lineOf(() => system.curveOf(read([0])), one);
    const straight = times.map(line);

    const images = indices.map((index) => {
      const gamma = overTimes(
        () => system.curveOf(read([index])),
        times,
        one,
        (values) => values.flatten().toArray(),
      );
      return { index, gamma, spread: gamma.map(spreadOf) };
    });

    const x = { label: "t", domain: [0, 1] } as const;
    const size = { width: 480, height: 340 };
    const each = images.flatMap(({ index, gamma, spread }) => [
      lineChart({
        ...size,
        title: `Schedules of the pixels of image ${index}`,
        subtitle: label,
        x,
        y: { label: "γ(z, t)" },
        bundle: { name: "pixels", x: times, curves: curvesOf(gamma) },
        series: [
          { name: "mean over pixels", x: times, y: spread.map(({ mean }) => mean) },
          { name: "straight line", x: times, y: straight },
        ],
      }),
      lineChart({
        ...size,
        title: "Their distance from the straight line",
        subtitle: `image ${index}, z its most likely latent`,
        x,
        y: { label: "γ(z, t) − line" },
        bundle: {
          name: "pixels",
          x: times,
          curves: curvesOf(gamma.map((values, k) => values.map((value) => value - (straight[k] ?? 0)))),
        },
        series: [
          {
            name: "mean over pixels",
            x: times,
            y: spread.map(({ mean }, k) => mean - (straight[k] ?? 0)),
          },
        ],
      }),
    ]);
    const ofImages = (
      read: (image: (typeof images)[number]) => Omit<LineSeries, "name" | "x">,
    ): LineSeries[] => images.map((image) => ({ name: `image ${image.index}`, x: times, ...read(image) }));
    const together = [
      lineChart({
        ...size,
        title: "Signal-to-noise ratio",
        subtitle: "exp(−γ) at the mean γ over pixels; band: all of them",
        x,
        y: { label: "SNR(t)", scale: "log" },
        series: [
          ...ofImages(({ spread }) => ({
            y: spread.map(({ mean }) => Math.exp(-mean)),
            low: spread.map(({ high }) => Math.exp(-high)),
            high: spread.map(({ low }) => Math.exp(-low)),
          })),
          { name: "straight line", x: times, y: straight.map((gamma) => Math.exp(-gamma)) },
        ],
      }),
      lineChart({
        ...size,
        title: "Spread over pixels",
        subtitle: "standard deviation of γ(z, t) over the pixels of an image",
        x,
        y: { label: "deviation of γ" },
        series: ofImages(({ spread }) => ({ y: spread.map(({ deviation }) => deviation) })),
      }),
    ];
    const rows = images.flatMap(({ index, gamma, spread }) =>
      times.map((t, k) => ({
        image: index,
        t,
        ...spread[k],
        straightLine: straight[k] ?? Number.NaN,
        ...pixelColumns(gamma[k] ?? [], system.shape),
      })),
    );
    const chart = panels([...each, ...together], { columns: 2 });
    const settings = { images: count, times: times.length, split: source.split, latent: "mode" };
    return { kind: "chart", chart, rows, settings };
  },
});
