/** Images drawn from a system, in batches that fit in memory, and what they looked like on the way. */
import type { Pass } from "../diffusion/denoiser.js";
import { sample } from "../diffusion/sampler/index.js";
import type { DiffusionSystem } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import type { Pixels } from "../plot/index.js";
import { fromTypedArray, noGrad, type Streams, scope, type Tensor } from "../torch/index.js";
import { openSplit } from "./experiment.js";
import type { Trained } from "./trained.js";

export interface DrawRequest {
  readonly system: DiffusionSystem;
  readonly count: number;
  readonly steps: number;
  readonly sampler: string;
  readonly streams: Streams;
  readonly pass: Pass;
  readonly device: string;
  /** Percentile at which predicted images are thresholded; not at all where absent. */
  readonly threshold?: number | undefined;
  /** Of a discrete chain: which of its steps, and DDIM's noise. */
  readonly respacing?: string | undefined;
  readonly eta?: number | undefined;
  /** Images drawn at a time. Default 64. */
  readonly batchSize?: number;
  /** One number per image, where the system is conditional. */
  readonly condition?: Float32Array;
  /** Keep so many views of each image on its way, evenly spaced, the first and the last included. */
  readonly frames?: number;
  onProgress?(done: number, total: number): void;
  readonly signal?: AbortSignal | undefined;
}

export interface Drawn {
  readonly pixels: Pixels;
  /** With `frames`: the noisy latents and the clean images predicted from them, image by image, frame by frame. */
  readonly trajectory?: {
    readonly latents: Pixels;
    readonly predictions: Pixels;
    readonly times: readonly number[];
  };
}

/** Latents as something to look at: [-1, 1] to 0 .. 255, cut at both ends. */
export function visible(z: Tensor): Uint8Array {
  return scope(() =>
    noGrad(() => z.add(1).mul(127.5).round().clamp(0, 255).to("uint8").toTypedArray()),
  ) as Uint8Array;
}

/**
 * Draws images. The first `batchSize` of them are the same whatever the count.
 * @throws the signal's reason when it aborts
 */
export async function drawImages(request: DrawRequest): Promise<Drawn> {
  const { system, count, steps, frames = 0, batchSize = 64 } = request;
  const [channels = 1, height = 1, width = 1] = system.shape;
  const size = channels * height * width;
  const data = new Uint8Array(count * size);
  const wanted = new Set(
    Array.from({ length: frames }, (_, i) => Math.round((i * steps) / Math.max(1, frames - 1))),
  );
  const shown = [...wanted].sort((a, b) => a - b);
  const latents = new Uint8Array(shown.length * count * size);
  const predictions = new Uint8Array(shown.length * count * size);

  for (let start = 0; start < count; start += batchSize) {
    const n = Math.min(batchSize, count - start);
    const condition = request.condition?.subarray(start, start + n);
    const view = (frame: number, into: Uint8Array, pixels: Uint8Array) => {
      for (let i = 0; i < n; i++)
        into.set(pixels.subarray(i * size, (i + 1) * size), ((start + i) * shown.length + frame) * size);
    };
    const drawn = await sample(
      system,
      {
        count: n,
        steps,
        sampler: request.sampler,
        streams: request.streams.at(start / batchSize),
        pass: request.pass,
        ...(condition ? { condition: fromTypedArray(condition, [n]).toDevice(request.device) } : {}),
        ...(request.threshold === undefined ? {} : { threshold: request.threshold }),
        ...(request.respacing === undefined ? {} : { respacing: request.respacing }),
        ...(request.eta === undefined ? {} : { eta: request.eta }),
      },
      {
        ...(request.signal ? { signal: request.signal } : {}),
        onStep({ z, xHat }, done) {
          const put = (step: number, into: Uint8Array, seen: Tensor) => {
            const frame = shown.indexOf(step);
            if (frame >= 0) view(frame, into, visible(seen));
          };
          put(done, latents, z);
          // What step `done` predicted, it predicted from the latent before it.
          if (xHat) put(done - 1, predictions, xHat);
          if (done === steps) put(done, predictions, xHat ?? z);
        },
        onProgress: (part) => request.onProgress?.(Math.round((start + part * n) * steps), count * steps),
      },
    );
    data.set(drawn.toTypedArray() as Uint8Array, start * size);
    drawn.dispose();
  }

  const shape = { channels: channels as 1 | 3, height, width };
  const pixels = { data, count, ...shape };
  if (shown.length === 0) return { pixels };
  const together = { count: count * shown.length, ...shape };
  return {
    pixels,
    trajectory: {
      latents: { data: latents, ...together },
      predictions: { data: predictions, ...together },
      times: shown.map((done) => 1 - done / steps),
    },
  };
}

/** The conditioning number of each image: the class asked for, or all classes in turn. */
export async function conditionOf(
  { config }: Pick<Trained, "config">,
  count: number,
  asked: number | undefined,
): Promise<Float32Array | undefined> {
  if (config.model.condition !== "class") {
    if (asked !== undefined)
      throw new UserError("expected --class with a class-conditional run only (model.condition: class)");
    return undefined;
  }
  const source = await openSplit(config, "train");
  const classes = source.classes?.length ?? Math.max(...(source.labels ?? [0])) + 1;
  if (asked !== undefined && asked >= classes)
    throw new UserError(`expected a class from 0 to ${classes - 1}, got ${asked}`);
  return Float32Array.from({ length: count }, (_, i) => asked ?? i % classes);
}
