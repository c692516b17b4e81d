/** Network weights made by the hash of the golden files' READMEs, in the layouts that parameters have here. */
import type { Module, Parameter } from "../src/nn/index.js";
import { fromTypedArray, type Shape, type Tensor } from "../src/torch/index.js";

/** Uniform numbers in (-1, 1) for parameter k: the README's hash of (index, k, seed), in C order of `shape`. */
export function hashed(shape: Shape, k: number, seed: number): Tensor {
  const size = shape.reduce((product, n) => product * n, 1);
  const values = Float64Array.from({ length: size }, (_, i) => {
    let h = (Math.imul(i, 0x9e3779b1) + Math.imul(k, 0x85ebca77) + seed) >>> 0;
    h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
    h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
    h ^= h >>> 16;
    const u = ((h >>> 0) + 0.5) / 2 ** 32;
    return 2 * u - 1;
  });
  return fromTypedArray(values, shape);
}

/**
 * The README's kernels are `[kh, kw, in, out]` and `[in, out]`, ours `[out, in, kh, kw]` and `[out, in]`; a transposed
 * convolution's are turned by half a turn there, and `[in, out, kh, kw]` here.
 */
function weight(name: string, { shape }: Parameter, k: number, seed: number): Tensor {
  if (name.endsWith("bias")) return hashed(shape, k, seed).mul(0.1);
  if (shape.length === 1) return hashed(shape, k, seed).mul(0.1).add(1);
  if (name.endsWith("expand.weight")) {
    const [channels = 0, out = 0, height = 0, width = 0] = shape;
    const kernel = hashed([height, width, channels, out], k, seed).mul(Math.sqrt(3 / channels));
    return kernel.flip([0, 1]).permute([2, 3, 0, 1]);
  }
  const [out = 0, channels = 0, height = 1, width = 1] = shape;
  const bound = Math.sqrt(3 / (channels * height * width));
  const kernel = hashed([height, width, channels, out], k, seed).mul(bound);
  return kernel.permute([3, 2, 0, 1]).reshape(shape);
}

/** Gives every parameter of `network` its hashed value: parameter k is the k-th that a forward pass meets. */
export function loadHashed<M extends Module>(network: M, seed: number): M {
  const named = [...network.namedParameters()];
  return network.load(new Map(named.map(([name, parameter], k) => [name, weight(name, parameter, k, seed)])));
}
