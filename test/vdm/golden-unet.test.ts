/** VDM's score network against golden/vdm/score_unet, with weights made by the README's hash. */
import { describe, expect, test } from "vitest";
import { VdmUnet } from "../../src/networks/index.js";
import type { Parameter } from "../../src/nn/index.js";
import { fromTypedArray, grad, type Shape, type Tensor } from "../../src/torch/index.js";
import { channelsFirst, close, GoldenFile } from "../golden.js";
import { readmeEnds } from "./toy.js";

const file = new GoldenFile("vdm", "score_unet");

/** Uniform numbers in (-1, 1) for parameter k: the README's hash of (index, k, seed), in C order of `shape`. */
function hashed(shape: Shape, k: number, seed: number): Tensor {
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

/** The README's kernels are `[kh, kw, in, out]` and `[in, out]`, ours `[out, in, kh, kw]` and `[out, in]`. */
function stored(name: string, { shape }: Parameter, k: number, seed: number): Tensor {
  if (name.endsWith("bias")) return hashed(shape, k, seed).mul(0.1);
  if (shape.length === 1) return hashed(shape, k, seed).mul(0.1).add(1);
  const [out = 0, channels = 0, height = 1, width = 1] = shape;
  const bound = Math.sqrt(3 / (channels * height * width));
  const kernel = hashed([height, width, channels, out], k, seed).mul(bound);
  return kernel.permute([3, 2, 0, 1]).reshape(shape);
}

describe.each(file.matching(/^(\w+)\.config$/))("%s", (name) => {
  const [channels, depth, attention, fourier, seed] = file.numbers(`${name}.config`) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const z = file.image(`${name}.z`);
  const network = new VdmUnet({
    imageChannels: z.dim(1),
    channels,
    depth,
    attention: attention === 0 ? "middle" : "everywhere",
    fourierExponents: fourier === 0 ? [] : [6, 7],
    dropout: 0,
    ...readmeEnds,
  });
  const named = [...network.namedParameters()];
  network.load(new Map(named.map(([key, parameter], k) => [key, stored(key, parameter, k, seed)])));

  test("number and sums of the parameters", () => {
    expect(network.parameterCount()).toBe(file.number(`${name}.n_params`));
    const sums = network.parameters().map(({ value }) => value.sum().item());
    close(sums, file.tensor(`${name}.param_sums`), 1e-9, "param_sums");
  });

  test("output and gradients", () => {
    const gamma = file.tensor(`${name}.gamma`).requireGrad();
    const input = z.clone().requireGrad();
    const out = network.forward(input, gamma, file.tensor(`${name}.cond`), {});
    close(out, channelsFirst(file.tensor(`${name}.out`)), 1e-8, "out");
    const values = network.parameters().map(({ value }) => value);
    const [gradZ, gradGamma, ...gradients] = grad(
      [out.mul(file.image(`${name}.R`)).sum()],
      [input, gamma, ...values],
    );
    close(gradZ, file.image(`${name}.grad_z`), 1e-7, "grad_z");
    close(gradGamma, file.tensor(`${name}.grad_gamma`), 1e-7, "grad_gamma");
    const norms = gradients.map((gradient) => gradient?.square().sum().sqrt().item() ?? 0);
    close(norms, file.tensor(`${name}.grad_norms`), 1e-7, "grad_norms");
  });
});
