/** A segment of a network, which a training may compute again for the gradient rather than keep. */
import type { Pass } from "../diffusion/denoiser.js";
import { checkpoint, type DropoutKeys, scope, type Tensor } from "../torch/index.js";

/** The same keys for every run. */
function repeated(keys: DropoutKeys): () => DropoutKeys {
  const drawn: number[] = [];
  return () => {
    let layer = 0;
    return {
      next() {
        if (layer === drawn.length) drawn.push(keys.next());
        return drawn[layer++] as number;
      },
    };
  };
}

/**
 * `run(inputs, keys)`: with `recompute: levels` a checkpoint, whose dropout masks are the same when it is computed again.
 * Every tensor that `run` depends on is to be among the inputs, and what is used behind the segment too among its outputs:
 * `checkpoint` says why.
 */
export function segment<const I extends readonly Tensor[], const O extends readonly Tensor[]>(
  { recompute, dropout }: Pass,
  inputs: I,
  run: (inputs: I, keys: DropoutKeys | undefined) => O,
): O {
  if (recompute !== "levels") return scope(() => run(inputs, dropout));
  const keys = dropout && repeated(dropout);
  return checkpoint((...given: I) => run(given, keys?.()), inputs);
}
