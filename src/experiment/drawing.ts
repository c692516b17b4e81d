/** Images drawn from a system, in batches that fit in memory, and what they looked like on the way. */
import type { Pass } from "../diffusion/denoiser.js";
import { flowSampler, sample } from "../diffusion/sampler/index.js";
import type { DiffusionSystem, SampleView, SharedBySamples } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import type { Pixels } from "../plot/index.js";
import { ColdWalk } from "../systems/cold-walk.js";
import { fromTypedArray, noGrad, type Streams, scope, Tensor } from "../torch/index.js";
import { type Part, partsOf } from "./batch-parts.js";
import { openSplit } from "./experiment.js";
import type { Trained } from "./trained.js";

/** How many images are taken how to their end, and what is kept of their way. */
export interface WayRequest {
  readonly system: DiffusionSystem;
  readonly count: number;
  readonly steps: number;
  readonly sampler: string;
  /** Of degradations: levels that the network is asked to go at once. */
  readonly jump?: number | undefined;
  /** Keep so many views of each image on its way, evenly spaced, the first and the last included. */
  readonly frames?: number;
  /** Of so many images, the first ones; of all where absent. */
  readonly filmed?: number;
}

export interface DrawRequest extends WayRequest {
  readonly streams: Streams;
  readonly pass: Pass;
  readonly device: string;
  /** Percentile at which predicted images are thresholded; not at all where absent. */
  readonly threshold?: number | undefined;
  /** Of a discrete chain: which of its steps, and DDIM's noise. */
  readonly respacing?: string | undefined;
  readonly eta?: number | undefined;
  /** Images that draw their noise together. Default 64. */
  readonly batchSize?: number;
  /** Of them, computed at a time; all where absent. What comes of them is the same. */
  readonly atOnce?: number | undefined;
  /** One number per image, where the system is conditional. */
  readonly condition?: Float32Array;
  /** Of degradations: what the images of a batch have in common. */
  readonly shared?: readonly SharedBySamples[] | undefined;
  /** Of models with latents: those of the images; drawn where absent. */
  readonly latents?: Latents | undefined;
  onProgress?(done: number, total: number): void;
  readonly signal?: AbortSignal | undefined;
}

/** One latent an image, `[N, L]`, or one for every level from T down, `[N, T, L]`. */
export interface Latents {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Images on their way, state by state. */
export interface Trajectory {
  readonly states: readonly Pixels[];
  /** The clean images predicted from them; absent where a system predicts none on the way. */
  readonly predictions?: readonly Pixels[];
  /** How much of the way is left, 1 to 0. */
  readonly times: readonly number[];
  /** Of degradations: the level k of each, T to 0. */
  readonly levels?: readonly number[];
}

export interface Drawn {
  readonly pixels: Pixels;
  /** With `frames`. */
  readonly trajectory?: Trajectory;
  /** Of models with latents: those that the images were made with. */
  readonly latents?: Latents;
}

/** Unfinished latents as something to look at: as the system shows them, or from [-1, 1] to 0 .. 255, cut at both ends. */
export function visible(z: Tensor, system: Pick<DiffusionSystem, "show">): Uint8Array {
  const pixels = () => system.show?.(z) ?? z.add(1).mul(127.5).round().clamp(0, 255).to("uint8");
  return scope(() => noGrad(() => pixels().toTypedArray())) as Uint8Array;
}

/** Bytes of images that are drawn in one go: they are kept in one array until all are there. */
const mostBytes = 2 ** 32;

/** @throws UserError where so many images of this shape, `[C, H, W]`, are more than are kept at a time */
export function checkCount(count: number, shape: readonly number[]): void {
  const most = Math.floor(mostBytes / shape.reduce((product, n) => product * n, 1));
  if (count > most)
    throw new UserError(
      `expected at most ${most} images of ${shape.join("x")} at a time, got ${count}: draw them in several goes, each with a --seed of its own`,
    );
}

/** Whether the images of a batch depend on one another: by a percentile of all of them, by common steps or common noise. */
export function areCoupled({
  sampler,
  threshold,
  shared,
}: Pick<DrawRequest, "sampler" | "threshold" | "shared">) {
  return sampler === flowSampler || threshold !== undefined || shared !== undefined;
}

/**
 * Draws images, uint8 `[N, C, H, W]` in `pixels`. The first `batchSize` of them are the same whatever the count.
 * @throws the signal's reason when it aborts
 */
export async function drawImages(request: DrawRequest): Promise<Drawn> {
  const { system, count, steps, sampler, jump, pass, device, batchSize = 64 } = request;
  const { threshold, respacing, eta, shared, signal } = request;
  const gathered = new GatheredImages(request);
  const conditions = request.condition && { shape: [count], data: request.condition };
  const atOnce = areCoupled(request) ? undefined : request.atOnce;
  for (const part of partsOfAll(request.streams, { count, batchSize, atOnce })) {
    const { first, count: n, streams } = part;
    const condition = rowsOf(conditions, first, n, device);
    const latents = rowsOf(request.latents, first, n, device);
    try {
      const drawn = await sample(
        system,
        {
          ...{ count: n, steps, sampler, pass, streams },
          ...present({ condition, latents, threshold, respacing, eta, shared, jump }),
        },
        {
          ...present({ signal }),
          onStep(view, done) {
            if (done === 0 && "latents" in view && view.latents instanceof Tensor)
              gathered.putLatents(view.latents);
            gathered.see(first, view, done);
          },
          onProgress: (done) => request.onProgress?.(Math.round((first + done * n) * steps), count * steps),
        },
      );
      gathered.put(first, drawn);
      drawn.dispose();
    } finally {
      condition?.dispose();
      latents?.dispose();
    }
  }
  return gathered.result();
}

/** The parts of all batches, batch b drawing from `streams.at(b)`. */
function partsOfAll(
  streams: Streams,
  o: { readonly count: number; readonly batchSize: number; readonly atOnce: number | undefined },
): readonly Part[] {
  return Array.from({ length: Math.ceil(o.count / o.batchSize) }, (_, batch) => {
    const start = batch * o.batchSize;
    const parts = partsOf(streams.at(batch), Math.min(o.batchSize, o.count - start), o.atOnce);
    return parts.map((part) => ({ ...part, first: start + part.first }));
  }).flat();
}

/** Rows `first`, `first + 1`, ... of an array. */
function rowsOf(rows: Latents | undefined, first: number, count: number, device: string): Tensor | undefined {
  if (!rows) return undefined;
  const [, ...rest] = rows.shape;
  const size = rest.reduce((product, n) => product * n, 1);
  const data = rows.data.slice(first * size, (first + count) * size);
  return scope(() => fromTypedArray(data, [count, ...rest]).toDevice(device));
}

/** Those of the values that are there. */
function present<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const there = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(there) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** Levels of degradation after 0, 1, ... steps, T to 0; undefined of other systems. */
function levelsOnTheWay({ system, ...way }: WayRequest): readonly number[] | undefined {
  if (!(system instanceof ColdWalk)) return undefined;
  return [...system.levelsOf(way).visits.map(({ from }) => from), 0];
}

/** What becomes of images batch by batch, put together: their ends, their latents, and views of their way. */
export class GatheredImages {
  readonly #request: WayRequest;
  readonly #shape: Pick<Pixels, "channels" | "height" | "width">;
  readonly #size: number;
  readonly #images: Uint8Array;
  /** How many images are filmed, and after which steps. */
  readonly #filmed: number;
  readonly #shown: readonly number[];
  readonly #states: readonly Uint8Array[];
  readonly #predictions: readonly Uint8Array[];
  /** Steps that made a prediction. */
  readonly #predicted = new Set<number>();
  readonly #latents: Latents[] = [];

  constructor(request: WayRequest) {
    const { count, steps, frames = 0, filmed = count } = request;
    checkCount(count, request.system.shape);
    const [channels = 1, height = 1, width = 1] = request.system.shape;
    this.#request = request;
    this.#shape = { channels: channels as 1 | 3, height, width };
    this.#size = channels * height * width;
    this.#images = new Uint8Array(count * this.#size);
    this.#filmed = Math.min(filmed, count);
    const wanted = Array.from({ length: frames }, (_, i) =>
      Math.round((i * steps) / Math.max(1, frames - 1)),
    );
    this.#shown = [...new Set(wanted)].sort((a, b) => a - b);
    const blank = () => this.#shown.map(() => new Uint8Array(this.#filmed * this.#size));
    this.#states = blank();
    this.#predictions = blank();
  }

  /** Takes finished images, uint8 `[n, C, H, W]`, number `first` and those behind it. */
  put(first: number, images: Tensor): void {
    this.#images.set(images.toTypedArray() as Uint8Array, first * this.#size);
  }

  /** Takes the latents of the next images. */
  putLatents(latents: Tensor): void {
    const data = scope(() => latents.to("float32").toTypedArray()) as Float32Array;
    this.#latents.push({ shape: latents.shape, data });
  }

  /** Looks at images from number `first` on after `done` steps. */
  see(first: number, { z, xHat }: SampleView, done: number): void {
    if (first >= this.#filmed) return;
    const put = (step: number, film: readonly Uint8Array[], seen: Tensor) => {
      const into = film[this.#shown.indexOf(step)];
      if (!into) return;
      const pixels = visible(seen, this.#request.system);
      into.set(pixels.subarray(0, into.length - first * this.#size), first * this.#size);
    };
    put(done, this.#states, z);
    if (xHat) {
      // What step `done` predicted, it predicted from the state before it.
      put(done - 1, this.#predictions, xHat);
      this.#predicted.add(done - 1);
    }
    if (done === this.#request.steps) put(done, this.#predictions, xHat ?? z);
  }

  result(): Drawn {
    const { count, steps } = this.#request;
    const [latents] = this.#latents;
    return {
      pixels: { data: this.#images, count, ...this.#shape },
      ...(this.#shown.length > 0 ? { trajectory: this.#trajectory(steps) } : {}),
      ...(latents ? { latents: this.#allLatents(latents) } : {}),
    };
  }

  #trajectory(steps: number): Trajectory {
    const pixels = (data: Uint8Array) => ({ data, count: this.#filmed, ...this.#shape });
    const isPredicted = this.#shown.every((step) => step === steps || this.#predicted.has(step));
    const levels = levelsOnTheWay(this.#request);
    return {
      states: this.#states.map(pixels),
      ...(isPredicted ? { predictions: this.#predictions.map(pixels) } : {}),
      times: this.#shown.map((step) => 1 - step / steps),
      ...(levels ? { levels: this.#shown.map((step) => levels[step] as number) } : {}),
    };
  }

  #allLatents({ shape: [, ...rest] }: Latents): Latents {
    const size = rest.reduce((product, n) => product * n, 1);
    const data = new Float32Array(this.#request.count * size);
    let filled = 0;
    for (const part of this.#latents) {
      data.set(part.data, filled);
      filled += part.data.length;
    }
    return { shape: [this.#request.count, ...rest], data };
  }
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
