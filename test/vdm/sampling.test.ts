/** Samplers with the optimal denoiser of Gaussian data, whose every step is a known affine map. */
import { describe, expect, test } from "vitest";
import {
  ancestral,
  convertPrediction,
  ddim,
  FixedLinear,
  type GaussianSampler,
  NoiseLevel,
  sample,
  samplerNamed,
} from "../../src/diffusion/index.js";
import { VDM } from "../../src/systems/vdm.js";
import { noGrad, Streams, scope, type Tensor, tensor } from "../../src/torch/index.js";
import { close } from "../golden.js";
import { GaussianDenoiser } from "./gaussian.js";
import { readmeEnds } from "./toy.js";

const float64 = { dtype: "float64" } as const;
const m = 0.2;
const v = 0.09;
const schedule = new FixedLinear(readmeEnds);
const denoiser = new GaussianDenoiser(m, v);
const levelAt = (t: number) => new NoiseLevel(schedule.at(tensor([t], float64)).gamma);

/** One step as `z_s = slope z_t + shift + deviation noise`, read off the sampler itself. */
function affine(sampler: GaussianSampler, i: number, T: number) {
  const [from, to] = [levelAt((T - i) / T), levelAt((T - i - 1) / T)];
  const z = tensor([0, 1, 0], float64);
  const eps = denoiser.forward(z, from.gamma.expand([3]));
  const x = convertPrediction(eps, "eps", "x", z, from);
  const noise = () => tensor([0, 0, 1], float64);
  const [shift, one, noisy] = sampler({ z, prediction: { x, eps }, from, to, noise }).toArray() as [
    number,
    number,
    number,
  ];
  return { slope: one - shift, shift, deviation: noisy - shift };
}

/** Mean and variance of z_0 / alpha_0 when z_1 ~ N(0, 1). */
function moments(sampler: GaussianSampler, T: number): { mean: number; variance: number } {
  let [mean, variance] = [0, 1];
  for (let i = 0; i < T; i++) {
    const { slope, shift, deviation } = scope(() => affine(sampler, i, T));
    mean = slope * mean + shift;
    variance = slope ** 2 * variance + deviation ** 2;
  }
  const { alpha } = levelAt(0);
  return { mean: mean / alpha.item(), variance: variance / alpha.item() ** 2 };
}

describe("ancestral sampling", () => {
  test("the mean and variance of the data, to O(1/T)", () => {
    const noise = Math.exp(readmeEnds.gammaMin); // z_0 / alpha_0 = x + exp(gamma_0 / 2) eps
    const errors = [250, 500, 1000].map((T) => {
      const { mean, variance } = moments(ancestral, T);
      return { mean: Math.abs(mean - m), variance: Math.abs(variance - v - noise) };
    });
    expect(errors.at(-1)?.variance).toBeLessThan(0.02 * v);
    for (const [i, error] of errors.slice(1).entries()) {
      expect((errors[i]?.variance ?? 0) / error.variance).toBeGreaterThan(1.8);
      expect((errors[i]?.variance ?? 0) / error.variance).toBeLessThan(2.2);
    }
    // What is forgotten of z_1: the mean starts at 0 instead of alpha_1 m.
    for (const error of errors) expect(error.mean).toBeLessThan(0.01 * m);
  });

  test("noise is added at every step, the last included: sigma_0 sqrt(c)", () => {
    const T = 10;
    const c = -Math.expm1(-(readmeEnds.gammaMax - readmeEnds.gammaMin) / T);
    const sigma0 = Math.sqrt(1 / (1 + Math.exp(-readmeEnds.gammaMin)));
    for (let i = 0; i < T; i++) expect(affine(ancestral, i, T).deviation).toBeGreaterThan(0);
    close(affine(ancestral, T - 1, T).deviation, sigma0 * Math.sqrt(c), 1e-9, "last deviation");
  });
});

describe("DDIM", () => {
  test("follows the probability flow, to O(1/T): standardised, z keeps its value", () => {
    // For Gaussian data the flow is (z_t - alpha_t m) / sqrt(alpha_t^2 v + sigma_t^2) = constant.
    const [first, last] = [levelAt(1), levelAt(0)];
    const deviation = (level: NoiseLevel) => Math.sqrt(level.alpha2.item() * v + level.sigma2.item());
    const start = 1.5;
    const expected =
      last.alpha.item() * m + ((start - first.alpha.item() * m) / deviation(first)) * deviation(last);
    const errors = [250, 500, 1000].map((T) => {
      let z = start;
      for (let i = 0; i < T; i++) {
        const { slope, shift, deviation } = scope(() => affine(ddim, i, T));
        expect(deviation).toBe(0);
        z = slope * z + shift;
      }
      return Math.abs(z - expected);
    });
    for (const [i, error] of errors.slice(1).entries())
      expect((errors[i] as number) / error).toBeGreaterThan(1.8);
    expect(errors.at(-1)).toBeLessThan(0.01);
  });
});

describe("VDM's own sampling", () => {
  const vdm = new VDM({ shape: [1, 1, 1], schedule, denoiser });
  const steps = 20;
  const count = 20_000;
  const request = (seed: number) => ({
    count,
    steps,
    sampler: "ancestral",
    streams: new Streams(seed),
    pass: {},
  });

  const finish = (seed: number, last = seed): Tensor =>
    noGrad(() =>
      scope(() => {
        let state = vdm.start(request(seed));
        for (let i = 0; i < steps - 1; i++) state = vdm.step(state, i);
        return vdm.step({ ...state, request: request(last) }, steps - 1).z;
      }),
    );

  test("its latents have the moments that the steps' maps give", () => {
    const { alpha } = levelAt(0);
    const y = finish(1).div(alpha);
    const { mean, variance } = moments(ancestral, steps);
    expect(Math.abs(y.mean().item() - mean)).toBeLessThan(5 * Math.sqrt(variance / count));
    expect(Math.abs(y.variance().item() / variance - 1)).toBeLessThan(5 * Math.sqrt(2 / count));
  });

  test("the last step draws noise of its own, and a seed repeats itself", () => {
    expect(finish(1).toArray()).toEqual(finish(1).toArray());
    const difference = finish(1).sub(finish(1, 2));
    // two independent draws of the last noise
    const { deviation } = affine(ancestral, steps - 1, steps);
    const variance = difference.square().mean().item() / (2 * deviation ** 2);
    expect(Math.abs(variance - 1)).toBeLessThan(5 * Math.sqrt(2 / count));
  });

  test("a step's noise belongs to its number: taken again from the same state it is the same", () => {
    const small = { ...request(5), count: 3 };
    const state = vdm.start(small);
    const [again, other] = [vdm.step(state, 4).z.toArray(), vdm.step(state, 5).z.toArray()];
    expect(vdm.step(state, 4).z.toArray()).toEqual(again);
    // The two steps are different maps of z; the noise each adds is what differs beyond that.
    const noiseOf = (z: number[], i: number) => {
      const { slope, shift, deviation } = affine(ancestral, i, steps);
      return z.map((value, j) => (value - slope * (state.z.toArray()[j] ?? 0) - shift) / deviation);
    };
    expect(noiseOf(other, 5)[0]).not.toBeCloseTo(noiseOf(again, 4)[0] as number, 6);
  });

  test("the driver reports every step and decodes the last", async () => {
    const seen: number[] = [];
    const small = { ...request(3), count: 4 };
    const pixels = await sample(vdm, small, {
      onStep: (view, done, total) => {
        seen.push(done / total);
        expect(view.z.shape).toEqual([4, 1, 1, 1]);
        expect(view.z.toArray().every(Number.isFinite)).toBe(true);
      },
    });
    expect(seen).toEqual(Array.from({ length: steps + 1 }, (_, i) => i / steps));
    expect([pixels.dtype, pixels.shape]).toEqual(["uint8", [4, 1, 1, 1]]);
    const again = await sample(vdm, { ...request(3), count: 4 });
    expect(again.toArray()).toEqual(pixels.toArray());
  });

  test("an abort stops it between two steps", async () => {
    const controller = new AbortController();
    let done = 0;
    const run = sample(
      vdm,
      { ...request(4), count: 1 },
      {
        signal: controller.signal,
        onStep: (_, step) => {
          done = step;
          if (step === 3) controller.abort(new Error("enough"));
        },
      },
    );
    await expect(run).rejects.toThrow("enough");
    expect(done).toBe(3);
  });
});

test("an unknown sampler is named with the nearest one", () => {
  expect(() => samplerNamed("ancestrl")).toThrow(/expected a sampler, got "ancestrl".*ancestral/);
});
