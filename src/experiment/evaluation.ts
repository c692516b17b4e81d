/** Bits per dimension of a data set: every term with its standard error. */
import { setImmediate as turn } from "node:timers/promises";
import type { ImageSource } from "../data/index.js";
import type { Pass } from "../diffusion/denoiser.js";
import { bitsPerDim, totalBound } from "../diffusion/likelihood/bound.js";
import type { Batch, BoundedLikelihood } from "../diffusion/system.js";
import { noGrad, type Shape, type Streams, scope } from "../torch/index.js";

/** A mean with its standard error. */
export interface Estimate {
  readonly mean: number;
  readonly standardError: number;
}

export interface BoundEstimate {
  readonly bitsPerDim: Estimate;
  /** Each in bits/dim; they add up to the bound. */
  readonly terms: Readonly<Record<string, Estimate>>;
  readonly images: number;
  readonly passes: number;
  /** What the standard errors are over: independent batches where there are enough of them, else images. */
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
  readonly batchSize: number;
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
export async function estimateBound(request: BoundRequest): Promise<BoundEstimate> {
  const { system, images, passes, batchSize, streams } = request;
  const dimensions = system.shape.reduce((product, n) => product * n, 1);
  const sums = new Map<string, Float64Array>();
  const squares = new Float64Array(images);
  for (let pass = 0; pass < passes; pass++)
    for (let start = 0; start < images; start += batchSize) {
      request.signal?.throwIfAborted();
      const indices = Array.from({ length: Math.min(batchSize, images - start) }, (_, i) => start + i);
      const context = {
        streams: streams.at(pass).at(start / batchSize),
        pass: request.pass,
        ...(request.steps === undefined ? {} : { steps: request.steps }),
      };
      const values = scope(() =>
        noGrad(() => {
          const bound = system.bound(request.readBatch(indices), context);
          const all = { ...bound, total: totalBound(bound) };
          return Object.entries(all).map(
            ([name, nats]) => [name, bitsPerDim(nats, dimensions).toArray()] as const,
          );
        }),
      );
      for (const [name, bits] of values) {
        const sum = sums.get(name) ?? new Float64Array(images);
        sums.set(name, sum);
        for (const [i, value] of bits.entries()) {
          sum[start + i] = (sum[start + i] as number) + value / passes;
          if (name === "total") squares[start + i] = (squares[start + i] as number) + value ** 2 / passes;
        }
      }
      request.onProgress?.(pass * images + start + indices.length, passes * images);
      await turn();
    }
  const whole = Math.floor(images / batchSize);
  const errorsOver = whole >= enoughBatches ? "batches" : "images";
  const summarise = (values: Float64Array): Estimate => {
    const { mean, standardError } = estimate(values);
    if (errorsOver === "images") return { mean, standardError };
    const means = Array.from(
      { length: whole },
      (_, b) => estimate(values.subarray(b * batchSize, (b + 1) * batchSize)).mean,
    );
    return { mean, standardError: estimate(means).standardError };
  };
  const total = sums.get("total") as Float64Array;
  sums.delete("total");
  return {
    bitsPerDim: summarise(total),
    terms: Object.fromEntries(Array.from(sums, ([name, values]) => [name, summarise(values)])),
    images,
    passes,
    errorsOver,
    drawDeviation: Math.sqrt(Math.max(0, estimate(squares).mean - estimate(total).mean ** 2)),
  };
}
