/** What is looked at while a training goes on: samples, and the bound of other images. */
import { hasBound, type ImageModel, isDiffusion } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { Streams } from "../torch/index.js";
import type { Config } from "./config.js";
import { conditionOf, drawImages } from "./drawing.js";
import { type BoundEstimate, estimateBound } from "./evaluation.js";
import { evaluationPass, type Machine, openSplit, readBatch } from "./experiment.js";
import { samplingOf } from "./sampling.js";

export interface OnTheWay {
  readonly system: ImageModel;
  readonly config: Config;
  readonly machine: Machine;
  readonly signal?: AbortSignal | undefined;
}

/** @throws UserError where what is to be drawn or measured on the way cannot be: not hours later, when it would be */
export function checkOnTheWay(system: ImageModel, config: Config): void {
  const { system: name, train } = config;
  const reached = (every: number) => every > 0 && every <= train.steps;
  if (reached(train.sampleEvery) && isDiffusion(system)) system.checkSampling?.(samplingOf(config, system));
  if (reached(train.evaluateEvery) && !(isDiffusion(system) && hasBound(system)))
    throw new UserError(
      `expected a model with a likelihood bound for train.evaluateEvery ${train.evaluateEvery}, got ${name}: set train.evaluateEvery=0`,
    );
}

/** A grid of the samples that the config asks for, as a PNG; undefined of a model that draws none. */
export async function samplesOnTheWay(o: OnTheWay): Promise<Uint8Array | undefined> {
  const { system, config, machine, signal } = o;
  if (!isDiffusion(system)) return undefined;
  const { count, steps, sampler } = samplingOf(config, system);
  const condition = await conditionOf({ config }, count, undefined);
  const { pixels } = await drawImages({
    ...{ system, count, steps, sampler, signal },
    ...(condition ? { condition } : {}),
    streams: new Streams(config.train.seed),
    pass: evaluationPass(machine),
    device: machine.device,
  });
  const { imageGrid } = await import("../plot/index.js"); // charts and fonts, which most trainings need not load
  return imageGrid(pixels);
}

/** The bound of the evaluation split; undefined of a model that has none. */
export async function boundOnTheWay(
  o: OnTheWay,
): Promise<(BoundEstimate & { readonly split: string }) | undefined> {
  const { system, config, machine, signal } = o;
  if (!isDiffusion(system) || !hasBound(system)) return undefined;
  const source = await openSplit(config, config.data.evaluationSplit);
  const { images = source.length, passes, batchSize } = config.evaluate;
  const found = await estimateBound({
    ...{ system, source, passes, batchSize, signal },
    images: Math.min(images, source.length),
    streams: new Streams(config.train.seed),
    pass: evaluationPass(machine),
    readBatch: (indices) => readBatch(source, indices, { config, device: machine.device }),
  });
  return { ...found, split: source.split };
}
