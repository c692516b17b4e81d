/** Figures `noise-maps` and `noise-map-deviations`: gamma(z, t) as images, and its distance from the linear schedule. */
import type { DiffusionSystem, PixelSchedule } from "../diffusion/system.js";
import { heatmapGrid, type Panel } from "../plot/index.js";
import type { Shape, Tensor } from "../torch/index.js";
import { type Drawing, defineFigure, type FigureContext } from "./figure.js";
import { lineOf, midpoints, overTimes, pixelColumns, spreadOf } from "./pixel-gamma.js";
import { perPixelSchedule } from "./schedule-variance.js";

type Context = FigureContext<DiffusionSystem & PixelSchedule>;

const IMAGES = 3;
const TIMES = 10;
/** z of the mean map. */
const LATENTS = 128;

/** The mean over channels of `[n, D]`, D in the order `(h W + w) C + c`: `[n, H W]`. */
function greyMap(gamma: Tensor, [channels = 1, height = 1, width = 1]: Shape): Tensor {
  return gamma.reshape([-1, height * width, channels]).mean([2]);
}

/** A row of maps: of the mean over z, or of an image. */
interface MapRow {
  readonly name: string;
  readonly image?: number;
  /** At each time, `H W` numbers. */
  readonly maps: readonly (readonly number[])[];
}

interface Maps {
  readonly rows: readonly MapRow[];
  readonly times: readonly number[];
  /** The linear schedule between the same ends, at each time. */
  readonly line: readonly number[];
  readonly pixels: { readonly data: Uint8Array; readonly count: number };
  readonly settings: Readonly<Record<string, unknown>>;
}

async function measureMaps(context: Context): Promise<Maps> {
  const { system, request, streams, device } = context;
  const { source, read } = await context.openImages();
  const { shape } = system;
  const count = Math.min(request.images ?? IMAGES, source.length);
  const times = midpoints(request.times ?? TIMES);
  const indices = Array.from({ length: count }, (_, i) => i);
  const prior = () => system.priorCurve(LATENTS, streams.at(0));
  const ofPrior = { count: LATENTS, shape, device };
  const images = overTimes(
    () => system.curveOf(read(indices)),
    times,
    { count, shape, device },
    (gamma) => {
      const map = greyMap(gamma, shape).toArray();
      const size = map.length / count;
      return indices.map((i) => map.slice(i * size, (i + 1) * size));
    },
  );
  const mean = overTimes(prior, times, ofPrior, (gamma) => greyMap(gamma, shape).mean([0]).toArray());
  const data = new Uint8Array(count * shape.reduce((product, n) => product * n, 1));
  source.read(indices, data);
  return {
    rows: [
      { name: "mean over z", maps: mean },
      ...indices.map((i) => ({
        name: `image ${i}`,
        image: i,
        maps: images.map((maps) => maps[i] ?? []),
      })),
    ],
    times,
    line: times.map(lineOf(prior, ofPrior)),
    pixels: { data, count },
    settings: { images: count, times: times.length, latents: LATENTS, split: source.split, latent: "mode" },
  };
}

/** Draws the rows of maps, each image before its own; `value` says what is shown of gamma at time k. */
async function drawMaps(
  { system }: Context,
  { rows, times, pixels, settings }: Maps,
  o: {
    readonly title: string;
    readonly label: string;
    readonly colours: "grey" | "diverging";
    readonly range: "panel" | "shared";
    value(gamma: number, k: number): number;
  },
): Promise<Drawing> {
  const [channels = 1, height = 1, width = 1] = system.shape;
  const all = { ...pixels, channels: channels as 1 | 3, height, width };
  const shown = rows.map((row) => ({
    ...row,
    maps: row.maps.map((map, k) => map.map((gamma) => o.value(gamma, k))),
  }));
  const picture = await heatmapGrid({
    title: o.title,
    label: o.label,
    colours: o.colours,
    range: o.range,
    columnLabels: ["", ...times.map((t) => `t = ${Number(t.toPrecision(3))}`)],
    rowLabels: rows.map(({ name }) => name),
    rows: shown.map(({ maps, image }) => [
      image === undefined ? undefined : ({ kind: "image", pixels: all, index: image } as const),
      ...maps.map((values): Panel => ({ kind: "map", values, height, width })),
    ]),
  });
  const table = shown.flatMap(({ name, maps }) =>
    maps.map((values, k) => ({
      of: name,
      t: times[k] ?? Number.NaN,
      ...spreadOf(values),
      ...pixelColumns(values, [1, height, width]),
    })),
  );
  return { kind: "picture", png: picture.png, svg: picture.svg, rows: table, settings };
}

/** Each frame from its least to its greatest gamma; several channels are shown by their mean. */
export const noiseMaps = defineFigure({
  name: "noise-maps",
  summary: "gamma(z, t) as images, over latents and for a few images",
  needs: "weights",
  of: perPixelSchedule,
  draw: async (context) =>
    drawMaps(context, await measureMaps(context), {
      title: `Noise maps γ(z, t): ${context.label}`,
      label: "γ",
      colours: "grey",
      range: "panel",
      value: (gamma) => gamma,
    }),
});

/** Red: noisier than the linear schedule between the same ends would make that pixel. */
export const noiseMapDeviations = defineFigure({
  name: "noise-map-deviations",
  summary: "how far gamma(z, t) is from the straight line, in blue and red",
  needs: "weights",
  of: perPixelSchedule,
  async draw(context) {
    const maps = await measureMaps(context);
    return drawMaps(context, maps, {
      title: `Noise maps less the linear schedule: ${context.label}`,
      label: "γ − line",
      colours: "diverging",
      range: "shared",
      value: (gamma, k) => gamma - (maps.line[k] ?? 0),
    });
  },
});
