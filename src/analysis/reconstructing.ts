/** What the figures of reconstructions share: which models can, from which noise, and how pictures of them are made. */
import type { Batch, DiffusionSystem } from "../diffusion/system.js";
import { hasReconstruction } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { visible } from "../experiment/drawing.js";
import {
  imageErrors,
  noiseToRemove,
  type Reconstructing,
  reconstructed,
  usualWayBack,
} from "../experiment/reconstruction.js";
import { imagePicture } from "../plot/index.js";
import { DAED } from "../systems/daed.js";
import type { Drawing, FigureContext, FigureSubject, Row } from "./figure.js";
import { sameShape } from "./same-images.js";

/** What can take noise away from images: a chain, but not the generator of one by itself. */
export const denoisingSystem = {
  fits: (system: DiffusionSystem): system is Reconstructing =>
    hasReconstruction(system) && !(system instanceof DAED && !system.denoiser),
  words: "a system of discrete steps with a denoiser",
};

/** The run and those beside it. @throws UserError where one of them is no such system */
export function denoisingRuns(
  figure: string,
  context: FigureContext<Reconstructing>,
): readonly FigureSubject<Reconstructing>[] {
  const others = context.others.map((other) => {
    const { system } = other;
    if (!denoisingSystem.fits(system))
      throw new UserError(
        `expected ${denoisingSystem.words} for figure "${figure}", got one without (${other.label}): leave that run out`,
      );
    return { ...other, system };
  });
  return [context, ...others];
}

/** The variance of the noise that all of them remove: that asked for, or the first denoiser's. */
export function sharedNoise(
  runs: readonly FigureSubject<Reconstructing>[],
  { request }: Pick<FigureContext, "request">,
): number {
  return noiseToRemove(
    runs.map(({ system }) => system),
    request.at,
  );
}

/** Images side by side with what becomes of them. */
export interface Gallery {
  readonly figure: string;
  readonly title: string;
  /** What each image is called. */
  readonly names: readonly string[];
  /** Opens them anew for each run: uint8 `[B, C, H, W]`. */
  batchFor(run: FigureSubject): Promise<Batch>;
}

/** Draws the images, the same noised, and a row of what each run brings back from the same noise. */
export async function drawGallery(
  context: FigureContext<Reconstructing>,
  gallery: Gallery,
): Promise<Drawing> {
  const { figure, title, names } = gallery;
  const { streams, pass, signal, onProgress } = context;
  const runs = denoisingRuns(figure, context);
  sameShape(runs);
  const at = sharedNoise(runs, context);
  const count = names.length;
  const ways = runs.map((run) => ({ run, start: run.system.reconstructionStart(at) }));
  const total = ways.reduce((sum, { start }) => sum + start.index + 1, 0);
  const pictures: Uint8Array[] = [];
  const rows: Row[] = [];
  const labels = ["clean", `noise of variance ${Number(at.toPrecision(3))}`];
  let done = 0;
  for (const { run, start } of ways) {
    const calls = start.index + 1;
    const batch = await gallery.batchFor(run);
    const seen = await reconstructed(
      run.system,
      batch,
      { start, sampler: usualWayBack, streams: streams.at(0).at(0), pass },
      {
        signal,
        onPart: (part) => onProgress?.((done + Math.round(part * calls)) * count, total * count),
        see: (images) => ({
          ...imageErrors(images),
          clean: visible(images.clean, run.system),
          noised: visible(images.noised, run.system),
          image: visible(images.image, run.system),
        }),
      },
    );
    done += calls;
    if (pictures.length === 0) pictures.push(seen.clean, seen.noised);
    pictures.push(seen.image);
    const mean = seen.mae.reduce((sum, error) => sum + error / count, 0);
    labels.push(`${run.name}, MAE ${mean.toFixed(3)}`);
    for (const [image, name] of names.entries())
      rows.push({
        ...{ run: run.name, image, name, beta: start.beta, networkCalls: calls },
        ...{ mae: seen.mae[image] ?? Number.NaN, msSsim: seen.msSsim[image] ?? Number.NaN },
      });
  }
  const [channels, height, width] = context.system.shape as [1 | 3, number, number];
  const { svg, png } = await imagePicture(
    { data: Buffer.concat(pictures), count: labels.length * count, channels, height, width },
    { columns: count, rowLabels: labels, columnLabels: names, title },
  );
  const settings = {
    ...{ images: count, at, sampler: usualWayBack },
    runs: ways.map(({ run, start }) => ({ run: run.label, ...start })),
  };
  return { kind: "picture", png, svg, rows, settings };
}
