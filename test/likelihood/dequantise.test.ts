/** Noise inside the bins of pixels, and the bits per dimension that follow: closed forms. */
import { describe, expect, test } from "vitest";
import { decodePixels, encodePixels } from "../../src/diffusion/index.js";
import {
  dequantisations,
  dequantiser,
  drawUniform,
  flowBitsPerDim,
  importanceBound,
  truncatedNormal,
  truncatedNormalDraws,
} from "../../src/diffusion/likelihood/dequantise.js";
import { arange, full, Generator, operator, type Tensor, tensor } from "../../src/torch/index.js";
import { close } from "../golden.js";

const double = { dtype: "float64" } as const;
const erf = operator("aten::erf");
const gamma = (value: number) => tensor([value], double);
/** The middles of n equal parts of [0, 1], `[n, 1]`: means over them are integrals over the noise of one number. */
const middles = (n: number) => arange(0, n, 1, double).add(0.5).div(n).unsqueeze(1);

describe("the truncated normal", () => {
  test.each([
    // Quadrature of phi / Z and of its logarithm with mpmath 1.3 (40 digits, 16 kept).
    { tau: 1, mass: 0.6826894921370859, entropy: 0.6827859342889433 },
    { tau: 0.25, mass: 0.1974126513658474, entropy: -0.693190410305291 },
    // Nothing is cut off.
    { tau: 50, mass: 1, entropy: (1 + Math.log(2 * Math.PI)) / 2 },
  ])("mass and entropy at $tau", ({ tau, mass, entropy }) => {
    const found = truncatedNormal(tau);
    expect(found.tau).toBe(tau);
    close(found.mass, mass, 1e-14, "mass");
    close(found.entropy, entropy, 1e-13, "entropy");
  });

  test("draws follow the uniform numbers and stay finite at their ends", () => {
    const ends = tensor([0, 0.5, 1 - 2 ** -53], double);
    expect(truncatedNormalDraws(ends, truncatedNormal(50)).toArray()[0]).toBe(-50);
    const draws = truncatedNormalDraws(ends, truncatedNormal(2));
    close(draws, [-2, 0, 2], 1e-12, "draws", { rule: "largest" });
    expect(draws.abs().max().item()).toBeLessThanOrEqual(2);
    // Quartiles of N(0, 1), which 50 does not cut: +-0.6744897501960817 (R: qnorm(0.75)).
    const quartiles = truncatedNormalDraws(tensor([0.25, 0.75], double), truncatedNormal(50));
    close(quartiles, [-0.6744897501960817, 0.6744897501960817], 1e-14, "quartiles");
  });
});

describe.each(dequantisations)("%s", (kind) => {
  const levels = 8;
  // gamma_0 of a toy: alpha_0 = 0.976, far from 1.
  const gamma0 = gamma(-3);
  const { dequantise, entropy } = dequantiser(kind, { gamma0, levels });

  test("the start lies in its pixel's bin", () => {
    const pixels = arange(0, levels, 1, double).unsqueeze(1);
    const scale = kind === "uniform" ? 1 : Math.sqrt(1 / (1 + Math.exp(-3)));
    for (const u of [1e-9, 0.3, 1 - 1e-9]) {
      const { start } = dequantise(encodePixels(pixels, levels), full([levels, 1], u, double));
      expect(decodePixels(start.div(scale), levels).toArray()).toEqual(pixels.toArray());
    }
  });

  test("the entropy is the mean of -log q", () => {
    const uniform = middles(20_000);
    const { logQ } = dequantise(uniform.mul(0), uniform);
    close(logQ.mean().neg(), entropy, 1e-6, "entropy");
  });

  test("many draws give the mass of a known density in the bin", () => {
    // p(y) = N(y; 0.1, 0.3^2); its mass between a and b is (erf(b') - erf(a')) / 2.
    const [mean, deviation] = [0.1, 0.3];
    const pixel = 5;
    const x0 = encodePixels(full([4000, 1], pixel, double), levels);
    const { start, logQ } = dequantise(x0, middles(4000));
    const normalised = (y: Tensor) => y.sub(mean).div(deviation);
    const logP = normalised(start)
      .square()
      .mul(-0.5)
      .sub(Math.log(deviation * Math.sqrt(2 * Math.PI)));
    const scale = kind === "uniform" ? 1 : Math.sqrt(1 / (1 + Math.exp(-3)));
    const edges = tensor([(2 * pixel) / levels - 1, (2 * (pixel + 1)) / levels - 1], double).mul(scale);
    const [a, b] = erf(normalised(edges).mul(Math.SQRT1_2)).toArray() as [number, number];
    const bits = flowBitsPerDim({ logP, logQ: logQ.unsqueeze(1), entropy, dimensions: 1 });
    close(bits, [-Math.log2((b - a) / 2)], 1e-6, "-log2 P(x)");
    // One draw costs more: its bound is the mean of log q - log p over the noise.
    const one = logP.mean().add(entropy).neg().div(Math.LN2).item();
    expect(one).toBeGreaterThan(bits.item());
  });

  test("one importance-weighted draw, averaged over the noise, is the entropy form", () => {
    const uniform = middles(20_000);
    const { start, logQ } = dequantise(uniform.mul(0), uniform);
    const logP = start.squeeze(1).mul(0.7).sub(1).unsqueeze(0); // [1, draws]
    const each = importanceBound(logP, logQ.unsqueeze(0)).div(Math.LN2);
    const bits = flowBitsPerDim({ logP, logQ: logQ.unsqueeze(0), entropy, dimensions: 1 });
    close(bits.mean(), each.mean(), 1e-6, "bits");
  });
});

describe("a density that is uniform on [-1, 1]^D", () => {
  const dimensions = 12;
  const flat = (shape: readonly number[], d: number) => full(shape, -d * Math.LN2, double);
  const options = { gamma0: gamma(-13.3), levels: 256 };

  test("uniform noise gives 8 bits exactly, whatever K", () => {
    const { entropy, dequantise } = dequantiser("uniform", options);
    const x0 = full([2, dimensions], 0.25, double);
    const { logQ } = dequantise(x0, drawUniform(x0, new Generator({ seed: 1 })));
    for (const draws of [1, 3]) {
      const shape = [draws, 2];
      const bits = flowBitsPerDim({
        logP: flat(shape, dimensions),
        logQ: logQ.expand(shape),
        entropy,
        dimensions,
      });
      close(bits, [8, 8], 1e-13, `K = ${draws}`);
    }
  });

  test("truncated normal noise gives 8.5688 bits with one draw and 8 with many", () => {
    const { entropy, dequantise } = dequantiser("truncated-normal", options);
    const one = { logP: flat([1, 2], dimensions), logQ: flat([1, 2], 0), entropy, dimensions };
    // 1 - (entropy of e + log sigma_0) / ln 2, with the six digits of MuLAN's constants
    close(flowBitsPerDim(one), full([2], 1 - (1.403718 - 6.650001) / Math.LN2, double), 1e-6, "K = 1");
    const uniform = middles(2 ** 16);
    const logQ = dequantise(uniform.mul(0), uniform).logQ.unsqueeze(1);
    const many = flowBitsPerDim({ logP: flat(logQ.shape, 1), logQ, entropy, dimensions: 1 });
    // The bin that the noise fills is that of alpha_0 x: smaller than 2 / 256 by alpha_0.
    close(many, [8 + Math.log1p(Math.exp(-13.3)) / 2 / Math.LN2], 1e-6, "K = 65536");
  });
});

describe("the importance-weighted bound", () => {
  test("of weights ten thousand nats below 0", () => {
    const logP = tensor(
      [
        [-1e4, 1e4],
        [-1e4 + Math.log(3), 1e4],
        [-1e4 + Math.log(5), 1e4],
      ],
      double,
    );
    // The mean of 1, 3 and 5 is 3.
    close(importanceBound(logP, logP.mul(0)), [1e4 - Math.log(3), -1e4], 1e-14, "bound");
    close(importanceBound(logP, logP.sub(2)), [-2, -2], 1e-10, "equal weights");
  });

  test("takes the divergence of each image", () => {
    const [logP, logQ] = [tensor([[-3, -5]], double), tensor([[2, 4]], double)];
    const kl = tensor([0, 2 * Math.LN2], double);
    const bits = flowBitsPerDim({ logP, logQ, entropy: -Math.LN2, dimensions: 2, kl });
    // (3 + 2 ln 2) / (2 ln 2), and (5 + 2 ln 2 + 2 ln 2) / (2 ln 2)
    close(bits, [1.5 / Math.LN2 + 1, 2.5 / Math.LN2 + 2], 1e-14, "bits");
  });
});

test("uniform numbers are float64, of the images' shape, and repeated by a seed", () => {
  const x0 = full([2, 1, 3, 3], 0, { dtype: "float32" });
  const drawn = drawUniform(x0, new Generator({ seed: 2 }));
  expect([drawn.dtype, drawn.shape]).toEqual(["float64", x0.shape]);
  expect(drawUniform(x0, new Generator({ seed: 2 })).toArray()).toEqual(drawn.toArray());
});
