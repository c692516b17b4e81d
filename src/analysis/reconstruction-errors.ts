/** Errors of reconstructions for figures of several runs, data sets and noises, as `evaluate` measures them. */
import type { ReconstructionStart } from "../diffusion/system.js";
import { sameSet } from "../experiment/other-images.js";
import {
  type Reconstructing,
  type ReconstructionErrors,
  reconstructionWork,
  usualWayBack,
} from "../experiment/reconstruction.js";
import { doWork } from "../experiment/work.js";
import type { FigureContext, FigureImages, FigureSubject, Row } from "./figure.js";

/** A model with the images of one of the data sets. */
export interface Pairing {
  readonly run: FigureSubject<Reconstructing>;
  readonly set: FigureImages;
  /** So many of them, evenly spread. */
  readonly images: number;
}

/**
 * Every run with the data set that `context`'s own model was trained on, and with every one asked for; with `usual`
 * images where no other number was asked for.
 */
export async function pairings(
  runs: readonly FigureSubject<Reconstructing>[],
  { data, request }: FigureContext,
  usual: number,
): Promise<readonly Pairing[]> {
  const asked = [...new Set(request.data)].map((name) => ({ name }));
  const sets = [data, ...asked.filter((set) => !sameSet(set, data))];
  const paired: Pairing[] = [];
  for (const run of runs)
    for (const one of sets) {
      const set = await run.openImages(undefined, one);
      paired.push({ run, set, images: Math.min(request.images ?? usual, set.source.length) });
    }
  return paired;
}

/** What is measured: a pairing, and the noise that its images come back from. */
export interface Trial extends Pairing {
  readonly start: ReconstructionStart;
}

export type Tried<T extends Trial = Trial> = T & { readonly errors: ReconstructionErrors };

/** Measures one after another, each with the same noise. @throws the signal's reason when it aborts */
export async function tryAll<T extends Trial>(
  trials: readonly T[],
  { batchSize, streams, pass, signal, onProgress }: FigureContext,
): Promise<readonly Tried<T>[]> {
  const total = trials.reduce((sum, { images, start }) => sum + images * (start.index + 1), 0);
  const tried: Tried<T>[] = [];
  let before = 0;
  for (const trial of trials) {
    const { run, set, images, start } = trial;
    const calls = start.index + 1;
    const how = { batchSize, start, sampler: usualWayBack, streams, pass };
    const work = reconstructionWork({
      ...{ ...how, system: run.system, length: set.source.length, images, passes: 1 },
      readBatch: set.read,
    });
    const errors = await doWork(work, {
      signal,
      onProgress: (done) => onProgress?.(before + done * calls, total),
    });
    before += images * calls;
    tried.push({ ...trial, errors });
  }
  return tried;
}

/** A line of a CSV. */
export function rowOf({ run, set, images, start, errors: { mae, msSsim } }: Tried): Row {
  return {
    ...{ run: run.name, trainedOn: run.data.name, data: set.source.name, images },
    ...{ adaptation: set.adaptation ?? "none", index: start.index, beta: start.beta },
    ...{ mae: mae.mean, maeError: mae.standardError },
    ...{ msSsim: msSsim.mean, msSsimError: msSsim.standardError },
  };
}
