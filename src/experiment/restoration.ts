/** Images that are degraded in full and restored: the one loop for it, and how far what comes back is from what went in. */
import { setImmediate as turn } from "node:timers/promises";
import { levelsVisited } from "../diffusion/cold/cold-samplers.js";
import { degraded } from "../diffusion/degradation/degradation.js";
import type { Pass } from "../diffusion/denoiser.js";
import type { Batch } from "../diffusion/system.js";
import { rootMeanSquareError, ssim } from "../metrics/index.js";
import { type ColdWalk, VariationalColdDiffusion } from "../systems/index.js";
import { full, noGrad, randn, type Streams, scope, type Tensor } from "../torch/index.js";
import { type Estimate, estimate, meanOfPasses } from "./evaluation.js";
import { evenlySpread } from "./image-features.js";
import {
  cutInPieces,
  type Measured,
  type Numbers,
  numbersByPass,
  type Piece,
  type PieceOptions,
  type Work,
} from "./work.js";

/**
 * What is compared with the originals: D(x_0, T); what a sampler leads that back to; the clean image that the network sees in
 * it at once, the first that Algorithm 2 goes by.
 */
export const restorationKinds = ["degraded", "sampled", "direct"] as const;
export type RestorationKind = (typeof restorationKinds)[number];

/** How images are led back. */
export interface WayOfRestoring {
  readonly sampler: string;
  /** Levels at once. */
  readonly jump: number;
  /** Of models with latents, which are drawn from their prior: one for all steps, or one for each. */
  readonly latentMode: "shared" | "per-step";
  /** The same streams give the same draws. */
  readonly streams: Streams;
  readonly pass: Pass;
}

/** Images in the model's range [0, 1], `[B, C, H, W]`, not clamped. */
export type Restored = Readonly<Record<"clean" | RestorationKind, Tensor>>;

const inScope = <T>(run: () => T): T => noGrad(() => scope(run));

/**
 * What `see` makes of a batch that was degraded and restored; all tensors, the batch's too, live until it returns. There is a
 * turn of the event loop after every step.
 * @throws the signal's reason when it aborts
 */
export async function restored<R>(
  system: ColdWalk,
  batch: Batch,
  { sampler, jump, latentMode, streams, pass }: WayOfRestoring,
  o: PieceOptions & { see(images: Restored): R },
): Promise<R> {
  const held = new Set(Object.values(batch));
  const hold = (tensor: Tensor): Tensor => {
    held.add(tensor);
    return tensor;
  };
  try {
    const { levels } = system;
    const clean = hold(inScope(() => system.encode(batch.pixels)));
    const { shape, dtype, device } = clean;
    const count = clean.dim(0);
    const normal = (shape: readonly number[], from: Streams, name: string) =>
      randn(shape, from.generator(name), { dtype }).toDevice(device);
    const last = hold(
      inScope(() => {
        const level = full([count], levels, { dtype: "int64", device });
        return degraded(system.degradation, clean, level, normal(shape, streams, "degradation"));
      }),
    );
    const each = latentMode === "shared" ? [count] : [count, levels];
    const latents =
      system instanceof VariationalColdDiffusion
        ? hold(inScope(() => normal([...each, system.latentSize], streams, "latents")))
        : undefined;
    const noise = (i: number) => normal(shape, streams.at(i), "noise");
    const direct = hold(
      inScope(() => {
        const { xHat } = system.stepDown(last, {
          ...{ from: levels, to: levels - 1, jump: 1, sampler: "algorithm-2", start: last, pass },
          latent: latents?.rank === 3 ? latents.select(1, 0) : latents,
          noise: () => noise(0),
        });
        if (!xHat) throw new Error("expected a clean image from Algorithm 2");
        return xHat;
      }),
    );
    const visits = levelsVisited(levels, { sampler, jump }).length;
    const states = system.walk(last, { sampler, jump, latents, pass, noise });
    let sampled = inScope(() => states.next()).value ?? last;
    for (let done = 0; done < visits; done++) {
      o.signal?.throwIfAborted();
      const next = hold(inScope(() => states.next()).value ?? sampled);
      if (sampled !== last) {
        sampled.dispose();
        held.delete(sampled);
      }
      sampled = next;
      o.onPart?.((done + 1) / visits);
      await turn();
    }
    return inScope(() => o.see({ clean, degraded: last, sampled, direct }));
  } finally {
    for (const tensor of held) tensor.dispose();
  }
}

/** How far images of one kind are from the originals, both cut to [0, 1]; one number each, or their mean over images. */
export interface RestorationErrors<V> {
  /** Root mean square error over pixels and channels. */
  readonly rmse: V;
  readonly ssim: V;
}

export type ByKind<V> = Readonly<Record<RestorationKind, V>>;

/** What `make` gives for every kind. */
export function byKind<V>(make: (kind: RestorationKind) => V): ByKind<V> {
  return { degraded: make("degraded"), sampled: make("sampled"), direct: make("direct") };
}

export function restorationErrors(images: Restored): ByKind<RestorationErrors<readonly number[]>> {
  const shown = (x: Tensor) => x.to("float64").clamp(0, 1);
  const clean = shown(images.clean);
  return byKind((kind) => {
    const image = shown(images[kind]);
    return { rmse: rootMeanSquareError(image, clean).toArray(), ssim: ssim(image, clean).toArray() };
  });
}

export interface RestorationWork extends WayOfRestoring {
  readonly system: ColdWalk;
  /** Images there are. */
  readonly length: number;
  /** Images of them that are used, evenly spread, since sets are often in the order of their classes. */
  readonly images: number;
  /** Independent draws of every image. */
  readonly passes: number;
  readonly batchSize: number;
  readonly streams: Streams;
  readBatch(indices: readonly number[]): Batch;
  /** Called with the images of every batch in the first pass; returns what the numbers say of them besides. */
  keep?(images: Restored, piece: Piece): Numbers;
}

/** The errors of images as pieces of work, one for each pass over each batch: each image the mean of its passes. */
export function restorationWork(request: RestorationWork): Work<ByKind<RestorationErrors<Estimate>>> {
  const { system, length, images, passes, batchSize, streams, keep } = request;
  const chosen = evenlySpread(length, images);
  return {
    pieces: cutInPieces({ part: "restoration", images, batchSize, passes }),
    async measure(piece, options) {
      const { pass, batch, indices } = piece;
      const read = scope(() => request.readBatch(indices.map((i) => chosen[i] as number)));
      const way = { ...request, streams: streams.at(pass).at(batch) };
      return await restored(system, read, way, {
        ...options,
        see(seen) {
          const errors = restorationErrors(seen);
          const numbers = restorationKinds.flatMap((kind) =>
            Object.entries(errors[kind]).map(([name, values]) => [`${kind}.${name}`, values] as const),
          );
          return { ...Object.fromEntries(numbers), ...(pass === 0 ? keep?.(seen, piece) : {}) };
        },
      });
    },
    summarise(measured: readonly Measured[]) {
      const over = (name: string) => estimate(meanOfPasses(numbersByPass(measured, name, images)));
      return byKind((kind) => ({ rmse: over(`${kind}.rmse`), ssim: over(`${kind}.ssim`) }));
    },
  };
}
