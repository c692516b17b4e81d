/** The one sampling loop: a scope a step, every step reported, a turn for the event loop in between. */
import { setImmediate as turn } from "node:timers/promises";
import { noGrad, scope, Tensor } from "../../torch/index.js";
import type { DiffusionSystem, SampleRequest, SampleView } from "../system.js";
import { flowSampler, sampleFlow } from "./flow.js";

export interface SampleOptions {
  /**
   * Called after step `done` of `steps`, and before the first with 0. Tensors of the view live until the next step. Not
   * called by the sampler that chooses its own steps.
   */
  onStep?(view: SampleView, done: number, steps: number): void;
  /** Called with the part of the way that is done, up to 1. */
  onProgress?(part: number): void;
  /** Stops between two steps. */
  readonly signal?: AbortSignal;
}

/** Frees what a state holds and the next does not. */
function release(old: SampleView, next: SampleView | undefined): void {
  const held = new Set<unknown>(Object.values(next ?? {}));
  for (const value of Object.values(old)) if (value instanceof Tensor && !held.has(value)) value.dispose();
}

/**
 * Draws `request.count` images, uint8 `[count, C, H, W]`.
 * @throws the signal's reason when it aborts.
 */
export async function sample<S extends SampleView>(
  system: DiffusionSystem<S>,
  request: SampleRequest,
  options: SampleOptions = {},
): Promise<Tensor> {
  const { onStep, onProgress, signal } = options;
  if (request.sampler === flowSampler) {
    const onTime = (t: number) => onProgress?.(1 - t);
    return (await sampleFlow(system, request, { onTime, ...(signal ? { signal } : {}) })).images;
  }
  const inScope = <R>(run: () => R): R => noGrad(() => scope(run));
  let state = inScope(() => system.start(request));
  try {
    onStep?.(state, 0, request.steps);
    for (let i = 0; i < request.steps; i++) {
      signal?.throwIfAborted();
      const next = inScope(() => system.step(state, i));
      release(state, next);
      state = next;
      onStep?.(state, i + 1, request.steps);
      onProgress?.((i + 1) / request.steps);
      await turn();
    }
    return inScope(() => system.decode(state.z, state)).keep();
  } finally {
    release(state, undefined);
  }
}
