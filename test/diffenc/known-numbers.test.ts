/** Numbers that do not depend on training: the loss of networks that have learned nothing, and what both ends of time cost. */
import fs from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import {
  bitsPerDim,
  type Encoding,
  encodePixels,
  FixedLinear,
  Identity,
  NonTrainable,
  priorDivergence,
  Trainable,
} from "../../src/diffusion/index.js";
import { EncoderUnet, VdmUnet } from "../../src/networks/index.js";
import { DiffEnc } from "../../src/systems/diffenc.js";
import {
  arange,
  fromTypedArray,
  full,
  noGrad,
  Streams,
  scope,
  type Tensor,
  tensor,
  zeros,
} from "../../src/torch/index.js";
import { readmeEnds } from "../vdm/toy.js";
import { BestDenoiser } from "./gaussian.js";

const float64 = { dtype: "float64" } as const;
const schedule = new FixedLinear(readmeEnds);
const { gamma1 } = schedule.ends();
const context = (count: number) => ({ condition: zeros([count], float64), pass: {} });

const size = { imageChannels: 1, height: 2, channels: 16, blocks: 1, groups: 4, blockGroups: 8, dropout: 0 };
const encoder = new EncoderUnet({ ...size, layout: "unet", ...readmeEnds });
encoder.initialise(new Streams(2), float64);
const identity = new Identity();
const nonTrainable = new NonTrainable();
const fresh = new Trainable({ network: encoder });

describe("the continuous loss of networks that have learned nothing", () => {
  const unet = { imageChannels: 1, channels: 64, depth: 1, attention: "middle", dropout: 0 } as const;
  const denoiser = new VdmUnet({ ...unet, fourierExponents: [6, 7], ...readmeEnds });
  denoiser.initialise(new Streams(1), float64); // returns z

  /** Bits/dim of data of mean square `m2`. */
  function bits(encoding: Encoding, m2: number): number {
    // Quadratic in x and eps: the pixels of an image are the four corners x = +-sqrt(m2), eps = +-1. By the midpoint rule in
    // t: its error is h^2 / 24 times the change of a slope that is at most a few units.
    const n = 200;
    const pattern = (signs: readonly number[]) =>
      tensor(signs, float64).reshape([1, 1, 2, 2]).expand([n, 1, 2, 2]);
    const system = new DiffEnc({
      shape: [1, 2, 2],
      schedule,
      denoiser,
      encoding,
      counterTerm: encoding === identity ? "none" : "sigma2",
      prediction: "v",
    });
    return noGrad(() =>
      scope(() => {
        const t = arange(0, n, 1, float64).add(0.5).div(n);
        const x = pattern([1, 1, -1, -1]).mul(Math.sqrt(m2));
        const o = { eps: pattern([1, -1, 1, -1]), context: context(n) };
        const { dGamma, mismatch } = system.continuousMismatch(x, t, o);
        return bitsPerDim(dGamma.mul(mismatch).div(2), 4).mean().item();
      }),
    );
  }

  // Integrals over t of alpha^2 (alpha -+ sigma)^2, and, encoded, of that times (1 + sigma^2)^2 and (the second) alpha^4.
  test.each([
    ["VDMv", identity, 0.55506, 0.897758],
    ["DiffEnc", fresh, 0.583401, 0.823652],
    ["DiffEnc-nt", nonTrainable, 0.583401, 0.823652],
  ] as const)("%s", (_, encoding, noise, signal) => {
    for (const m2 of [0, 0.918556]) {
      const expected = (9.15 / Math.LN2) * (noise + signal * m2);
      expect(Math.abs(bits(encoding, m2) / expected - 1)).toBeLessThan(2e-6); // six digits are given
    }
  });
});

/** Bits/dim of KL(N(alpha_1 x_1, sigma_1^2) || N(0, 1)), mean over images. */
const latentBits = (encoding: Encoding, f: Tensor) =>
  noGrad(() =>
    scope(() => {
      const count = f.dim(0);
      const x1 = encoding.at(f, gamma1.expand([count]), context(count));
      return bitsPerDim(priorDivergence(x1, gamma1), f.size / count)
        .mean()
        .item();
    }),
  );

describe("the latent loss of data of mean square 0.918556, that of MNIST's test set", () => {
  const f = full([1, 1, 2, 2], Math.sqrt(0.918556), float64);
  // 1/2 (alpha_1^2 x_1^2 - alpha_1^2 + softplus(-gamma_1)): x_1 = x, alpha_1^2 x, and 0, which is least.
  test.each([
    ["identity", identity, 0.0044509, 7],
    ["non-trainable", nonTrainable, 1.6427e-5, 9],
    ["trainable, that has learned nothing", fresh, 1.6427e-5, 9],
  ] as const)("%s", (_, encoding, expected, digits) => {
    expect(latentBits(encoding, f)).toBeCloseTo(expected, digits);
  });
  test("x_1 = 0", () => expect(latentBits(identity, f.mul(0))).toBeCloseTo(1.6229e-5, 9));
});

const file = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz";

describe.skipIf(!fs.existsSync(file))("Fashion-MNIST's test set", () => {
  const bytes = gunzipSync(fs.readFileSync(file)).subarray(16);
  const images = 2000;
  const pixels = fromTypedArray(new Uint8Array(bytes.subarray(0, images * 784)), [images, 1, 28, 28]);
  /** Mean square in [-1, 1] and the part that is 0 or 255, of images `from` up to `to`. */
  function statistics(from: number, to: number) {
    const part = bytes.subarray(from * 784, to * 784);
    const squares = part.reduce((sum, value) => sum + ((2 * (value + 0.5)) / 256 - 1) ** 2, 0);
    const edges = part.reduce((sum, value) => sum + (value === 0 || value === 255 ? 1 : 0), 0);
    return { m2: squares / part.length, edges: edges / part.length };
  }

  test("latent loss of the first 2,000 images", () => {
    const { m2 } = statistics(0, images);
    const f = encodePixels(pixels.to("float64"), 256);
    const alpha2 = 1 / (1 + Math.exp(5));
    const rest = Math.log1p(Math.exp(-5)) - alpha2;
    const expected = (x1: number) => (alpha2 * x1 ** 2 * m2 + rest) / (2 * Math.LN2);
    expect(latentBits(identity, f) / expected(1)).toBeCloseTo(1, 10);
    expect(latentBits(nonTrainable, f) / expected(alpha2)).toBeCloseTo(1, 10);
  });

  test("reconstruction of the first 300: 0.0104532 bits a pixel, half of that at 0 and 255, whatever the encoding", () => {
    const first = pixels.narrow(0, 0, 300);
    const denoiser = new BestDenoiser({ m: 0, v: 1, kappa: 0, counter: 1, kind: "v" });
    const system = new DiffEnc({
      shape: [1, 28, 28],
      schedule,
      denoiser,
      encoding: nonTrainable,
      prediction: "v",
    });
    const { reconstruction } = noGrad(() =>
      scope(() => system.bound({ pixels: first }, { streams: new Streams(3), pass: {} })),
    );
    const each = bitsPerDim(reconstruction, 784).toArray();
    const error = each.map((bits, i) => bits - 0.0104532 * (1 - statistics(i, i + 1).edges / 2));
    const mean = error.reduce((sum, e) => sum + e) / error.length;
    const variance = error.reduce((sum, e) => sum + (e - mean) ** 2, 0) / (error.length - 1);
    expect(Math.abs(mean)).toBeLessThan(5 * Math.sqrt(variance / error.length));
    expect(Math.sqrt(variance / error.length)).toBeLessThan(5e-4);
  });
});
