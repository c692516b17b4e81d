/** The bound of a discrete chain step by step: what the figures of training dynamics measure (DAED, figures 13 and 14). */
import { setImmediate as turn } from "node:timers/promises";
import type { GaussianChain } from "../diffusion/chain/gaussian-chain.js";
import { type Estimate, estimate } from "../experiment/evaluation.js";
import type { ChainDiffusion } from "../systems/chain.js";
import { full, noGrad, randn, scope } from "../torch/index.js";
import { batchesOf, type FigureContext, type FigureImages } from "./figure.js";

/** Images where nothing else is asked for. */
const IMAGES = 32;
/** A chain of more steps is measured at some of them. */
const MOST_STEPS = 1000;
const STEPS_OF_LONG_CHAINS = 200;

/** Images and steps that the bound is measured at. */
export interface StepsRequest {
  readonly images: number;
  readonly split: string;
  /** Indices t, rising, with both ends of the chain. */
  readonly steps: readonly number[];
}

/**
 * `count` of T steps, from the first to the last: all of them, or such that the gaps between them grow evenly with
 * `t + 1`, since the bound is at the first steps.
 */
export function chosenSteps(T: number, count: number): readonly number[] {
  if (count >= T) return Array.from({ length: T }, (_, t) => t);
  const K = Math.max(2, count);
  const steps: number[] = [];
  for (let i = 0; i < K; i++)
    steps.push(Math.max((steps.at(-1) ?? -1) + 1, Math.round(T ** (i / (K - 1))) - 1));
  return steps;
}

/** What is measured of a chain of T steps. */
export function stepsRequest(
  { request }: Pick<FigureContext, "request">,
  { source }: FigureImages,
  T: number,
): StepsRequest {
  return {
    images: Math.min(request.images ?? IMAGES, source.length),
    split: source.split,
    steps: chosenSteps(T, request.times ?? (T <= MOST_STEPS ? T : STEPS_OF_LONG_CHAINS)),
  };
}

/**
 * The bound's term of each step asked for, bits/dim, over images; predicted images are kept within [-1, 1], as in the
 * bound. The noise of an image at a step is the same for all systems.
 */
export async function measureSteps(
  system: ChainDiffusion,
  { read }: FigureImages,
  {
    chain,
    images,
    steps,
    onImages,
    ...context
  }: Pick<StepsRequest, "images" | "steps"> &
    Pick<FigureContext, "batchSize" | "streams" | "pass" | "device" | "signal"> & {
      /** The system's; one for all checkpoints of a run, since a chain keeps its tables. */
      readonly chain: GaussianChain;
      onImages?(count: number): void;
    },
): Promise<readonly Estimate[]> {
  const values = steps.map(() => new Float64Array(images));
  for (const [batch, indices] of [...batchesOf(images, context.batchSize)].entries())
    for (const [i, step] of steps.entries()) {
      context.signal?.throwIfAborted();
      const bits = scope(() =>
        noGrad(() => {
          const { pixels, condition } = read(indices);
          const x0 = system.encode(pixels);
          const t = full([indices.length], step, { dtype: "int64", device: context.device });
          const generator = context.streams.at(step).at(batch).generator("noise");
          const noise = randn(x0.shape, generator, { dtype: x0.dtype }).toDevice(context.device);
          const how = { pass: context.pass, condition };
          return system.stepMeasure(chain, { x0, t, noise }, how).bits.toArray();
        }),
      );
      values[i]?.set(bits, indices[0]);
      onImages?.(indices.length);
      await turn();
    }
  return values.map(estimate);
}

/** The terms of all T steps: those between two measured ones are taken from the line between them. */
export function termsOfAll(steps: readonly number[], values: readonly number[], T: number): Float64Array {
  const terms = new Float64Array(T);
  for (const [i, t] of steps.entries()) {
    const [value, next] = [values[i] as number, values[i + 1] ?? 0];
    const gap = (steps[i + 1] ?? t + 1) - t;
    for (let k = 0; k < gap; k++) terms[t + k] = value + (k / gap) * (next - value);
  }
  return terms;
}

export interface BoundShares {
  /** The sum of all terms, bits/dim: the bound without its prior. */
  readonly total: number;
  /** `sum_{s <= t}` */
  readonly cumulative: Float64Array;
  /** Of the total: that of the first step, and of the first hundredth of the steps. */
  readonly firstStep: number;
  readonly firstHundredth: number;
  /** How many steps a hundredth is, one at least. */
  readonly hundredth: number;
}

export function boundShares(terms: Float64Array): BoundShares {
  let sum = 0;
  const cumulative = terms.map((term) => {
    sum += term;
    return sum;
  });
  const hundredth = Math.max(1, Math.round(terms.length / 100));
  const firstStep = (terms[0] as number) / sum;
  return {
    ...{ total: sum, cumulative, firstStep, hundredth },
    firstHundredth: (cumulative[hundredth - 1] as number) / sum,
  };
}
