/** Figure `interpolation`: images between two samples (Rissanen et al., 2023). */
import { UserError } from "../errors.js";
import { stripPicture } from "../plot/index.js";
import type { ColdState } from "../systems/cold-walk.js";
import type { Tensor } from "../torch/index.js";
import { coldSystem, disposeStart, drawnStart, inScope, noiseOfStep, walked } from "./cold-walks.js";
import { defineFigure, type Row } from "./figure.js";

const PAIRS = 3;
const POINTS = 9;

/** Between two things, `first * a + second * b`. */
interface Weights {
  readonly first: number;
  readonly second: number;
}

/** `w a + (1 - w) b`, w evenly spaced from 1 to 0. */
export function linearWeights(points: number): readonly Weights[] {
  return Array.from({ length: points }, (_, j) => {
    const second = j / (points - 1);
    return { first: 1 - second, second };
  });
}

/** `cos(phi) a + sin(phi) b`, phi evenly spaced from 0 to pi / 2, so that normal draws stay normal; the ends are exact. */
export function sphericalWeights(points: number): readonly Weights[] {
  const phi = (j: number) => (j / (points - 1)) * (Math.PI / 2);
  return Array.from({ length: points }, (_, j) => ({
    first: j === points - 1 ? 0 : Math.cos(phi(j)),
    second: Math.sin(phi(j)),
  }));
}

function between(a: Tensor, b: Tensor, { first, second }: Weights): Tensor {
  return a.mul(first).add(b.mul(second));
}

/**
 * A row for each pair of samples: their starts are mixed linearly, or spherically where they are noise; the noise of their
 * steps, and their latents, spherically. The ends are samples as they are drawn from `streams.at(0)` and `streams.at(1)`.
 */
export const interpolation = defineFigure({
  name: "interpolation",
  summary: "images between pairs of samples, --columns of them from one to the other",
  needs: "weights",
  of: coldSystem,
  async draw(context) {
    const { label, system, request, streams, pass, signal, sampling } = context;
    const { images: count = PAIRS, columns: points = POINTS } = request;
    if (points < 2)
      throw new UserError(
        'expected at least 2 images a row for figure "interpolation", the two samples, got 1: raise --columns',
      );
    const ends = [0, 1].map((end) => drawnStart(context, { count, streams: streams.at(end) }));
    const [a, b] = ends as [ColdState, ColdState];
    const [za, zb] = [a.latents, b.latents];
    const spherical = sphericalWeights(points);
    const ofStart = system.degradation.end === "noise" ? "spherical" : "linear";
    const starts = ofStart === "spherical" ? spherical : linearWeights(points);
    const seen: { readonly pixels: Uint8Array; readonly meanPixel: readonly number[] }[] = [];
    try {
      for (const [j, onSphere] of spherical.entries()) {
        const x = inScope(() => between(a.start, b.start, starts[j] as Weights));
        const latents = za && zb && inScope(() => between(za, zb, onSphere));
        try {
          seen.push(
            await walked(system, x, {
              ...{ sampler: sampling.sampler, jump: a.jump, pass, signal, latents },
              noise: (i) =>
                between(
                  noiseOfStep(x, streams.at(0).at(i), count),
                  noiseOfStep(x, streams.at(1).at(i), count),
                  onSphere,
                ),
              see: (images) => {
                const pixels = system.decode(images);
                return {
                  pixels: pixels.toTypedArray() as Uint8Array,
                  meanPixel: pixels.to("float64").flatten(1).mean([1]).toArray(),
                };
              },
            }),
          );
        } finally {
          x.dispose();
          latents?.dispose();
        }
        context.onProgress?.(seen.length * count, points * count);
      }
    } finally {
      ends.forEach(disposeStart);
    }
    const [channels, height, width] = system.shape as [1 | 3, number, number];
    const { sampler, steps } = sampling;
    const parts = linearWeights(points).map(({ second }) => second);
    const { svg, png } = await stripPicture(
      seen.map(({ pixels: data }) => ({ data, count, channels, height, width })),
      {
        columnLabels: parts.map((part) => part.toFixed(2)),
        title: `From one sample to another: ${label}; ${sampler}, ${steps} steps`,
      },
    );
    const rows = seen.flatMap(({ meanPixel }, j): Row[] =>
      meanPixel.map((mean, pair) => ({ pair, part: parts[j] ?? Number.NaN, meanPixel: mean })),
    );
    const settings = {
      ...{ pairs: count, points, sampler, steps, starts: ofStart, stepNoise: "spherical" },
      ...(za ? { latents: "spherical" } : {}),
    };
    return { kind: "picture", png, svg, rows, settings };
  },
});
