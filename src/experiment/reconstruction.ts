/** Images that are noised and brought back: the one loop for it, and how far what comes back is from what went in. */
import { setImmediate as turn } from "node:timers/promises";
import type { Pass } from "../diffusion/denoiser.js";
import type { Batch, DiffusionSystem, Reconstruction, ReconstructionStart } from "../diffusion/system.js";
import { meanAbsoluteError, msSsim } from "../metrics/index.js";
import { noGrad, randn, type Streams, scope, type Tensor } from "../torch/index.js";
import { type Estimate, estimate, meanOfPasses } from "./evaluation.js";
import { evenlySpread } from "./image-features.js";
import { cutInPieces, type Measured, numbersByPass, type PieceOptions, type Work } from "./work.js";

export type Reconstructing = DiffusionSystem & Reconstruction;

/** Variance of the noise that is removed where neither is one asked for nor has the model a network for one. */
const usualBeta = 0.1;

/** The sampler that walks back where no other is asked for: unclipped, so that errors are those of the model. */
export const usualWayBack = "ancestral";

/** The variance of the noise that one model removes, or several side by side: that asked for, or the first one's own. */
export function noiseToRemove(
  systems: readonly Pick<Reconstruction, "firstBeta">[],
  asked: number | undefined,
): number {
  return asked ?? systems.map(({ firstBeta }) => firstBeta).find((own) => own !== undefined) ?? usualBeta;
}

/** How images are noised and brought back. */
export interface WayBack {
  readonly start: ReconstructionStart;
  readonly sampler: string;
  /** The same streams give the same noise, whatever the model. */
  readonly streams: Streams;
  readonly pass: Pass;
}

/** Images on [-1, 1], `[B, C, H, W]`: as they were, noised, and as they came back, unclipped. */
export interface Reconstructed {
  readonly clean: Tensor;
  readonly noised: Tensor;
  readonly image: Tensor;
}

/**
 * What `see` makes of a batch that was noised and brought back; all tensors, the batch's too, live until it returns. There
 * is a turn of the event loop after every step.
 * @throws the signal's reason when it aborts
 */
export async function reconstructed<R>(
  system: Reconstructing,
  batch: Batch,
  { start, sampler, streams, pass }: WayBack,
  o: PieceOptions & { see(images: Reconstructed): R },
): Promise<R> {
  const inScope = <T>(run: () => T): T => noGrad(() => scope(run));
  const clean = inScope(() => system.encode(batch.pixels));
  const { shape, dtype, device } = clean;
  const states = system.reconstruction(clean, {
    ...{ index: start.index, sampler, pass, condition: batch.condition },
    noise: (i) => randn(shape, streams.at(i).generator("noise"), { dtype }).toDevice(device),
  });
  const noised = inScope(() => states.next()).value ?? clean;
  let image = noised;
  try {
    for (let done = 0; done <= start.index; done++) {
      o.signal?.throwIfAborted();
      const next = inScope(() => states.next()).value ?? image;
      if (image !== noised && image !== next) image.dispose();
      image = next;
      o.onPart?.((done + 1) / (start.index + 1));
      await turn();
    }
    return inScope(() => o.see({ clean, noised, image }));
  } finally {
    for (const tensor of new Set([clean, noised, image, ...Object.values(batch)])) tensor.dispose();
  }
}

/** How far images are from what they were, one number each. */
export interface ImageErrors {
  /** Mean absolute error on the scale [-1, 1], unclipped. */
  readonly mae: readonly number[];
  /** Of both mapped to [0, 1] and cut there. */
  readonly msSsim: readonly number[];
}

export function imageErrors({ image, clean }: Pick<Reconstructed, "image" | "clean">): ImageErrors {
  const shown = (x: Tensor) => x.to("float64").add(1).div(2).clamp(0, 1);
  return {
    mae: meanAbsoluteError(image, clean).toArray(),
    msSsim: msSsim(shown(image), shown(clean)).toArray(),
  };
}

/** Means over images with their standard errors, each image the mean of its passes. */
export interface ReconstructionErrors {
  readonly mae: Estimate;
  readonly msSsim: Estimate;
}

export interface ReconstructionWork extends Omit<WayBack, "streams"> {
  readonly system: Reconstructing;
  /** Images there are. */
  readonly length: number;
  /** Images of them that are used, evenly spread, since sets are often in the order of their classes. */
  readonly images: number;
  /** Independent draws of every image. */
  readonly passes: number;
  readonly batchSize: number;
  readonly streams: Streams;
  readBatch(indices: readonly number[]): Batch;
}

/** The errors of images as pieces of work, one for each pass over each batch. */
export function reconstructionWork(request: ReconstructionWork): Work<ReconstructionErrors> {
  const { system, length, images, passes, batchSize, streams } = request;
  const chosen = evenlySpread(length, images);
  return {
    pieces: cutInPieces({ part: "reconstruction", images, batchSize, passes }),
    async measure({ pass, batch, indices }, options) {
      const read = scope(() => request.readBatch(indices.map((i) => chosen[i] as number)));
      const way = { ...request, streams: streams.at(pass).at(batch) };
      return { ...(await reconstructed(system, read, way, { ...options, see: imageErrors })) };
    },
    summarise(measured: readonly Measured[]) {
      const over = (name: keyof ImageErrors) => estimate(meanOfPasses(numbersByPass(measured, name, images)));
      return { mae: over("mae"), msSsim: over("msSsim") };
    },
  };
}
