/** Network weights by the hash of golden/vcd's README, from salt and official name, and what the files say of themselves. */
import path from "node:path";
import { readSafetensors } from "../../src/io/index.js";
import type { Module } from "../../src/nn/index.js";
import { type FloatDtype, fromTypedArray, type Shape, scope, type Tensor } from "../../src/torch/index.js";
import { ownFolder } from "../golden.js";

/** FNV-1a of the string's bytes. */
function fnv(text: string): number {
  let h = 0x811c9dc5;
  for (const byte of Buffer.from(text, "utf8")) h = Math.imul(h ^ byte, 0x01000193);
  return h;
}

/** Element `i` of the stream `h`, in [-1, 1). */
function uniform(h: number, i: number): number {
  let v = (h + Math.imul(i + 1, 0x9e3779b9)) | 0;
  v = Math.imul(v ^ (v >>> 16), 0x7feb352d);
  v = Math.imul(v ^ (v >>> 15), 0x846ca68b);
  return ((v ^ (v >>> 16)) >>> 0) / 2 ** 31 - 1;
}

/** The parameter `name` of `shape` in float32. */
export function hashWeight(name: string, shape: Shape, salt: string): Tensor {
  const h = fnv(salt + name);
  const [, ...inner] = shape;
  const size = shape.reduce((product, n) => product * n, 1);
  const scale = 0.7 * Math.sqrt(3 / inner.reduce((product, n) => product * n, 1));
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const u = uniform(h, i);
    values[i] = shape.length > 1 ? u * scale : name.endsWith("weight") ? 1 + 0.1 * u : 0.05 * u;
  }
  return fromTypedArray(values, shape);
}

/** Gives every parameter its hashed value. */
export function loadHashWeights<M extends Module>(
  network: M,
  salt: string,
  options: { readonly dtype?: FloatDtype } = {},
): M {
  return scope(() => {
    const named = [...network.namedParameters()];
    const weights = named.map(([name, { shape }]) => [name, hashWeight(name, shape, salt)] as const);
    return network.load(new Map(weights), options);
  });
}

/** What golden/vcd/`name` says of the network that made it. */
export function goldenMetadata(name: string): Readonly<Record<string, string>> {
  const folder = process.env.VARIDIFF_GOLDEN ?? ownFolder;
  return readSafetensors(path.join(folder, "vcd", `${name}.safetensors`)).metadata;
}
