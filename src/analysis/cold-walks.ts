/** What the figures of cold diffusion share: which systems they are of, and the walk of a batch from level T to images. */
import { setImmediate as turn } from "node:timers/promises";
import type { DiffusionSystem, SampleRequest } from "../diffusion/system.js";
import { type ColdState, ColdWalk } from "../systems/cold-walk.js";
import { VariationalColdDiffusion } from "../systems/vcd.js";
import { noGrad, randn, type Streams, scope, type Tensor } from "../torch/index.js";
import type { FigureContext } from "./figure.js";

export const coldSystem = {
  fits: (system: DiffusionSystem): system is ColdWalk => system instanceof ColdWalk,
  words: "a system of cold diffusion",
};

export const latentSystem = {
  fits: (system: DiffusionSystem): system is VariationalColdDiffusion =>
    system instanceof VariationalColdDiffusion,
  words: "a system of cold diffusion with latents",
};

/** Without gradients, and without anything left behind but what is returned. */
export function inScope<R>(run: () => R): R {
  return noGrad(() => scope(run));
}

/** What samples begin with that are drawn from these streams; its tensors are the caller's to free. */
export function drawnStart(
  { system, sampling, pass }: Pick<FigureContext<ColdWalk>, "system" | "sampling" | "pass">,
  o: Pick<SampleRequest, "count" | "shared" | "streams">,
): ColdState {
  const { steps, sampler } = sampling;
  return inScope(() => system.start({ ...o, steps, sampler, pass }));
}

export function disposeStart({ start, latents }: Pick<ColdState, "start" | "latents">): void {
  start.dispose();
  latents?.dispose();
}

/** Standard normal draws for `count` images such as those of `x`, as walks draw them from the streams of a step. */
export function noiseOfStep(x: Tensor, streams: Streams, count: number): Tensor {
  const [, ...image] = x.shape;
  const generator = streams.generator("sample/noise");
  return randn([count, ...image], generator, { dtype: x.dtype }).toDevice(x.device);
}

/** How a batch walks; see `ColdWalk.walk`. */
export type Walk = Parameters<ColdWalk["walk"]>[1];

/**
 * What `see` makes of the images that states `x` at level T are led to; they live until it returns. There is a turn of the
 * event loop after every step.
 *
 * @throws the signal's reason when it aborts
 */
export async function walked<R>(
  system: ColdWalk,
  x: Tensor,
  o: Walk & {
    see(images: Tensor): R;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<R> {
  const states = system.walk(x, o);
  const following = (): Tensor | undefined => inScope(() => states.next()).value;
  let image = following() ?? x;
  try {
    for (;;) {
      o.signal?.throwIfAborted();
      const next = following();
      if (!next) return inScope(() => o.see(image));
      if (image !== x) image.dispose();
      image = next;
      await turn();
    }
  } finally {
    if (image !== x) image.dispose();
  }
}
