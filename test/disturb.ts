/** Networks none of whose weights are zero or one, as they are after training. */
import type { Module } from "../src/nn/index.js";
import { Generator, noGrad, randn } from "../src/torch/index.js";

/** Every parameter drawn anew from a normal of that deviation. */
export function disturb<M extends Module>(network: M, seed: number, deviation = 0.1): M {
  const generator = new Generator({ seed });
  noGrad(() => {
    for (const { value } of network.parameters())
      value.copy_(randn(value.shape, generator, { dtype: value.dtype }).mul(deviation));
  });
  return network;
}
