/** Bits per dimension of a data set: every term with its standard errors. */
import type { ImageSource } from "../data/index.js";
import type { Pass } from "../diffusion/denoiser.js";
import { bitsPerDim, totalBound } from "../diffusion/likelihood/bound.js";
import type { Batch, BoundedLikelihood } from "../diffusion/system.js";
import { noGrad, type Shape, type Streams, scope } from "../torch/index.js";
import { type Part, partsOf } from "./batch-parts.js";
import { cutInPieces, doWork, type Measured, numbersByPass, type Work } from "./work.js";

/** A mean with its standard error. */
export interface Estimate {
  readonly mean: number;
  readonly standardError: number;
}

/** A mean over images and passes, with its standard error over the one and over the other. */
export interface BoundValue extends Estimate {
  /** Of the mean over images, each the mean of its passes: what other images would change. */
  readonly standardErrorOverImages: number;
  /** Deviation of the means of passes over sqrt(passes): what other draws on these images would change; null at one pass. */
  readonly standardErrorOverPasses: number | null;
}

export interface BoundEstimate {
  readonly bitsPerDim: BoundValue;
  /** Each in bits/dim; they add up to the bound. */
  readonly terms: Readonly<Record<string, BoundValue>>;
  readonly images: number;
  readonly passes: number;
  /** Draws in all, images times passes. */
  readonly draws: number;
  /** What `standardError` is over: independent batches where there are enough of them, else images. */
  readonly errorsOver: "batches" | "images";
  /** Standard deviation over images of one draw of the bound: what one pass more would average away. */
  readonly drawDeviation: number;
}

export interface BoundRequest {
  readonly system: BoundedLikelihood & { readonly shape: Shape };
  readonly source: ImageSource;
  /** The first so many images of the split. */
  readonly images: number;
  /** Independent draws of every image. */
  readonly passes: number;
  /** Images that draw together. */
  readonly batchSize: number;
  /** Of them, computed at a time; all where absent. What comes of them is the same. */
  readonly atOnce?: number | undefined;
  /** T of the bound, 0 for continuous time; as trained where absent. */
  readonly steps?: number | undefined;
  readonly streams: Streams;
  readonly pass: Pass;
  readBatch(indices: readonly number[]): Batch;
  onProgress?(done: number, total: number): void;
  readonly signal?: AbortSignal | undefined;
}

/** Mean, and the standard error of that mean over independent values. */
export function estimate(values: ArrayLike<number>): Estimate {
  const n = values.length;
  let mean = 0;
  for (let i = 0; i < n; i++) mean += (values[i] as number) / n;
  let squares = 0;
  for (let i = 0; i < n; i++) squares += ((values[i] as number) - mean) ** 2;
  return { mean, standardError: n > 1 ? Math.sqrt(squares / (n - 1) / n) : Number.NaN };
}

/** The mean of the passes of each image. */
export function meanOfPasses(passes: readonly Float64Array[]): Float64Array {
  return Float64Array.from(passes[0] ?? [], (_, i) =>
    passes.reduce((sum, pass) => sum + (pass[i] as number) / passes.length, 0),
  );
}

/** Fewer batches than this say too little about their own spread. */
const enoughBatches = 20;

/**
 * The variational bound, averaged over images and passes. Each batch draws from streams of its own, so that the result
 * depends on the seed, the batch size and nothing else.
 *
 * The standard error holds both what images differ by and what is left of the Monte-Carlo noise. Times are spread
 * evenly over a batch, so its images are not independent draws, but batches are: with 20 or more of them the error is
 * that of the mean of batch means. With fewer it is over images (each the mean of its passes), which ignores the
 * spreading and is on the large side.
 *
 * @throws the signal's reason when it aborts between two batches
 */
export function estimateBound(request: BoundRequest): Promise<BoundEstimate> {
  return doWork(boundWork(request), request);
}

/** The same as pieces of work, one for each pass over each batch; its numbers are bits/dim, `total` and every term. */
export function boundWork(request: Omit<BoundRequest, "onProgress" | "signal">): Work<BoundEstimate> {
  const { system, images, passes, batchSize, streams, pass, steps } = request;
  const dimensions = system.shape.reduce((product, n) => product * n, 1);
  return {
    pieces: cutInPieces({ part: "bound", images, batchSize, passes }),
    measure({ indices, ...piece }) {
      const ofPart = ({ first, count, streams }: Part): Record<string, number[]> =>
        scope(() =>
          noGrad(() => {
            const batch = request.readBatch(indices.slice(first, first + count));
            const bound = system.bound(batch, { streams, pass, ...(steps === undefined ? {} : { steps }) });
            const all = { ...bound, total: totalBound(bound) };
            return Object.fromEntries(
              Object.entries(all).map(([name, nats]) => [name, bitsPerDim(nats, dimensions).toArray()]),
            );
          }),
        );
      const ofBatch = streams.at(piece.pass).at(piece.batch);
      const parts = partsOf(ofBatch, indices.length, request.atOnce).map(ofPart);
      const names = Object.keys(parts[0] ?? {});
      return Object.fromEntries(names.map((name) => [name, parts.flatMap((part) => part[name] ?? [])]));
    },
    summarise: (measured) => summariseBound(measured, { images, passes, batchSize }),
  };
}

function summariseBound(
  measured: readonly Measured[],
  {
    images,
    passes,
    batchSize,
  }: { readonly images: number; readonly passes: number; readonly batchSize: number },
): BoundEstimate {
  const whole = Math.floor(images / batchSize);
  const errorsOver = whole >= enoughBatches ? "batches" : "images";
  const summarise = (values: readonly Float64Array[]): BoundValue => {
    const perImage = meanOfPasses(values);
    const { mean, standardError: overImages } = estimate(perImage);
    const batches = Array.from(
      { length: whole },
      (_, b) => estimate(perImage.subarray(b * batchSize, (b + 1) * batchSize)).mean,
    );
    const means = values.map((pass) => estimate(pass).mean);
    return {
      mean,
      standardError: errorsOver === "batches" ? estimate(batches).standardError : overImages,
      standardErrorOverImages: overImages,
      standardErrorOverPasses: passes > 1 ? estimate(means).standardError : null,
    };
  };
  const totals = numbersByPass(measured, "total", images);
  const squares = meanOfPasses(totals.map((pass) => pass.map((bits) => bits ** 2)));
  const total = summarise(totals);
  const names = Object.keys(measured[0]?.numbers ?? {}).filter((name) => name !== "total");
  return {
    bitsPerDim: total,
    terms: Object.fromEntries(names.map((name) => [name, summarise(numbersByPass(measured, name, images))])),
    images,
    passes,
    draws: images * passes,
    errorsOver,
    drawDeviation: Math.sqrt(Math.max(0, estimate(squares).mean - total.mean ** 2)),
  };
}
