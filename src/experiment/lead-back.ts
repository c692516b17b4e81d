/** Images of a data set, degraded in full and led back. */
import { setImmediate as turn } from "node:timers/promises";
import type { Pass } from "../diffusion/denoiser.js";
import type { Batch } from "../diffusion/system.js";
import type { Pixels } from "../plot/index.js";
import type { ColdWalk } from "../systems/cold-walk.js";
import { VariationalColdDiffusion } from "../systems/vcd.js";
import { noGrad, ones, randn, type Streams, scope, stack, type Tensor } from "../torch/index.js";
import { type Drawn, GatheredImages, type WayRequest } from "./drawing.js";

export interface LeadBackRequest extends WayRequest {
  readonly system: ColdWalk;
  /** Levels at once; the steps say where absent. */
  readonly jump?: number | undefined;
  readonly streams: Streams;
  readonly pass: Pass;
  /** Images at a time. Default 64. */
  readonly batchSize?: number;
  /** Images `first`, `first + 1`, ... of those that are led back. */
  readBatch(first: number, count: number): Batch;
  onProgress?(done: number): void;
  readonly signal?: AbortSignal | undefined;
}

/** What images became, and what they were. */
export interface LedBack extends Drawn {
  readonly originals: Pixels;
}

interface StateBack {
  readonly x: Tensor;
  readonly latent?: Tensor;
}

/**
 * Leads images back from their own full degradation: those of models with latents level by level with the latents of their
 * own true states, which come back as `latents` `[N, T, L]`; others as samples are drawn.
 * @throws the signal's reason when it aborts
 */
export async function leadBack(request: LeadBackRequest): Promise<LedBack> {
  const { count, streams, batchSize = 64 } = request;
  const gathered = new GatheredImages(request);
  const originals = new GatheredImages({ ...request, frames: 0 });
  for (let first = 0; first < count; first += batchSize) {
    const batch = scope(() => request.readBatch(first, Math.min(batchSize, count - first)));
    try {
      originals.put(first, batch.pixels);
      await leadBatchBack(batch, first, { ...request, streams: streams.at(first / batchSize), gathered });
    } finally {
      for (const tensor of Object.values(batch)) tensor.dispose();
    }
  }
  return { ...gathered.result(), originals: originals.result().pixels };
}

async function leadBatchBack(
  batch: Batch,
  first: number,
  request: LeadBackRequest & { readonly gathered: GatheredImages },
): Promise<void> {
  const { system, steps, signal, gathered } = request;
  const inScope = <R>(run: () => R): R => noGrad(() => scope(run));
  const x0 = inScope(() => system.encode(batch.pixels));
  const states = statesBack(batch, x0, request);
  const latents: Tensor[] = [];
  // The walk itself keeps its first state to the end.
  let start: Tensor | undefined;
  let x = x0;
  try {
    for (let done = 0; done <= steps; done++) {
      signal?.throwIfAborted();
      const state = inScope(() => states.next()).value;
      if (!state) throw new Error(`expected ${steps} steps back, got ${done - 1}`);
      if (x !== x0 && x !== start) x.dispose();
      x = state.x;
      start ??= x;
      if (state.latent) latents.push(state.latent);
      gathered.see(first, { z: x }, done);
      request.onProgress?.(first * steps + done * batch.pixels.dim(0));
      await turn();
    }
    inScope(() => gathered.put(first, system.decode(x)));
    if (latents.length > 0) inScope(() => gathered.putLatents(stack(latents, 1)));
  } finally {
    for (const tensor of new Set([x0, x, ...(start ? [start] : []), ...latents])) tensor.dispose();
  }
}

/** From level T to 0. */
function* statesBack(
  batch: Batch,
  x0: Tensor,
  { system, sampler, steps, pass, streams, ...request }: LeadBackRequest,
): Generator<StateBack, undefined, undefined> {
  if (system instanceof VariationalColdDiffusion) {
    yield* system.reconstruction(x0, { pass, streams });
    return;
  }
  const { jump } = system.levelsOf({ sampler, steps, jump: request.jump });
  const { shape, dtype, device } = x0;
  const end = system.noised(batch, ones([x0.dim(0)], { dtype: "float64", device }), streams);
  const noise = (i: number) =>
    randn(shape, streams.at(i).generator("sample/noise"), { dtype }).toDevice(device);
  for (const x of system.walk(end, { pass, sampler, jump, noise })) yield { x };
}
