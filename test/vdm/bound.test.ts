/** The bound of data whose bound is known, by Monte Carlo through the code that evaluates it. */
import { describe, expect, test } from "vitest";
import {
  bitsPerDim,
  FixedLinear,
  MonotoneCode,
  MonotonePaper,
  type NoiseSchedule,
  Polynomial10,
  pixelLogLikelihood,
  priorDivergence,
} from "../../src/diffusion/index.js";
import { VdmUnet } from "../../src/networks/index.js";
import { VDM } from "../../src/systems/vdm.js";
import {
  arange,
  full,
  Generator,
  linspace,
  noGrad,
  randint,
  randn,
  Streams,
  scope,
  type Tensor,
  tensor,
} from "../../src/torch/index.js";
import { close } from "../golden.js";
import { continuousLoss, discreteLoss, GaussianDenoiser, priorLoss } from "./gaussian.js";
import { readmeEnds } from "./toy.js";

const float64 = { dtype: "float64" } as const;
const { gammaMin, gammaMax } = readmeEnds;

/** Mean and standard error. */
function estimate(values: Tensor): { mean: number; error: number } {
  return { mean: values.mean().item(), error: Math.sqrt(values.variance().item() / values.size) };
}

/** Throws unless the mean is within five standard errors of `expected` (one run in a million fails by chance). */
function expectMean(values: Tensor, expected: number): void {
  const { mean, error } = estimate(values);
  expect(Math.abs(mean - expected)).toBeLessThan(5 * error);
  expect(error).toBeLessThan(0.03 * Math.max(1, Math.abs(expected))); // the check has teeth
}

describe("Gaussian data, x ~ N(0.1, 0.04), 4.5 deviations inside (-1, 1)", () => {
  const m = 0.1;
  const v = 0.04;
  // Bins of width 2/V, a third of the noise of z_0: the discretised likelihood is the density times the width, to 1e-60.
  const levels = 4096;
  const count = 40_000;
  const x = scope(() => {
    const f = randn([count, 1, 1, 1], new Generator({ seed: 5 }), float64)
      .mul(Math.sqrt(v))
      .add(m);
    return f
      .add(1)
      .mul(levels / 2)
      .floor()
      .clamp(0, levels - 1);
  });
  const system = (schedule: NoiseSchedule) =>
    new VDM({ shape: [1, 1, 1], schedule, denoiser: new GaussianDenoiser(m, v), levels });
  const boundOf = (vdm: VDM, steps: number) =>
    noGrad(() => scope(() => vdm.bound({ pixels: x }, { streams: new Streams(steps), pass: {}, steps })));

  test.each([1, 2, 10, 100])("T = %i", (T) => {
    const { diffusion } = boundOf(system(new FixedLinear(readmeEnds)), T);
    expectMean(diffusion, discreteLoss(v, gammaMin, gammaMax, T));
  });

  test("more steps make a tighter bound, down to the continuous one", () => {
    const losses = [1, 2, 4, 8, 1024].map((T) => discreteLoss(v, gammaMin, gammaMax, T));
    for (const [i, loss] of losses.slice(1).entries()) expect(loss).toBeLessThan(losses[i] as number);
    expect(losses.at(-1)).toBeGreaterThan(continuousLoss(v, gammaMin, gammaMax));
  });

  test("reconstruction and prior", () => {
    const { reconstruction, prior } = boundOf(system(new FixedLinear(readmeEnds)), 0);
    // E[-log p(x | z_0)] of the density N(x; z_0 / alpha_0, exp(gamma_0)), less the log of a bin's width
    expectMean(reconstruction, 0.5 * (Math.log(2 * Math.PI) + gammaMin + 1) - Math.log(2 / levels));
    expectMean(prior, priorLoss(m, v, gammaMax));
  });

  const wild = (schedule: NoiseSchedule, seed: number) => {
    schedule.initialise(new Streams(seed), float64);
    noGrad(() => {
      for (const [name, value] of schedule.values())
        if (/l[23]/.test(name)) value.copy_(randn(value.shape, new Generator({ seed }), float64));
    });
    return schedule;
  };
  const schedules: Record<string, NoiseSchedule> = {
    linear: new FixedLinear(readmeEnds),
    polynomial: new Polynomial10(readmeEnds),
    "monotone network of the code": wild(new MonotoneCode({ ...readmeEnds, hidden: 16 }), 3),
    "monotone network of the paper": wild(new MonotonePaper({ ...readmeEnds, hidden: 16 }), 4),
  };

  test.each(Object.keys(schedules))("the continuous loss depends on the ends alone: %s", (name) => {
    const schedule = schedules[name] as NoiseSchedule;
    const { gamma0, gamma1 } = schedule.ends();
    const { diffusion } = boundOf(system(schedule), 0);
    expectMean(diffusion, continuousLoss(v, gamma0.item(), gamma1.item()));
  });

  test("at a given time the loss is gamma' SNR v / (1 + v SNR) / 2", () => {
    const vdm = system(new FixedLinear(readmeEnds));
    const loss = noGrad(() =>
      vdm.diffusionAt({ pixels: x }, full([count], 0.6, float64), { streams: new Streams(9), pass: {} }),
    );
    const range = gammaMax - gammaMin;
    const snr = Math.exp(-(gammaMin + 0.6 * range));
    expectMean(loss, (0.5 * range * snr * v) / (1 + v * snr));
  });
});

describe("known numbers of 8-bit images at gamma_0 = -13.3, gamma_1 = 5", () => {
  const noise = linspace(-9, 9, 361, float64); // trapezoid, spacing 0.05: exact to far more digits than are compared
  const density = noise
    .square()
    .div(-2)
    .exp()
    .mul(0.05 / Math.sqrt(2 * Math.PI));
  const gamma0 = tensor([-13.3], float64);

  /** Expected bits of each pixel value. */
  const bits = scope(() => {
    const x = arange(0, 256, 1, float64).unsqueeze(1).expand([256, 361]);
    const y = x.add(0.5).div(128).sub(1).add(gamma0.div(2).exp().mul(noise));
    return pixelLogLikelihood(x, y, gamma0, 256).neg().mul(density).sum([1]).div(Math.LN2);
  });

  test("reconstruction: 0.0104532 bits inside, half of it at 0 and 255, 0.0104124 of a uniform pixel", () => {
    const values = bits.toArray();
    for (const value of values.slice(1, -1)) expect(value).toBeCloseTo(0.0104532, 7);
    for (const value of [values[0], values[255]]) expect(value).toBeCloseTo(0.0052266, 7);
    expect(bits.mean().item()).toBeCloseTo(0.0104124, 7);
  });

  test("prior of images whose mean square is that of MNIST's test set: 0.0044509 bits/dim", () => {
    const f = full([1, 1], Math.sqrt(0.918556), float64);
    const prior = bitsPerDim(priorDivergence(f, tensor([5], float64)), 1);
    expect(prior.item()).toBeCloseTo(0.0044509, 7);
  });

  test("the bound of a network that has learned nothing", () => {
    const shape = [3, 8, 8];
    const denoiser = new VdmUnet({
      imageChannels: 3,
      channels: 64,
      depth: 1,
      attention: "middle",
      fourierExponents: [6, 7],
      dropout: 0,
      ...readmeEnds,
    });
    const vdm = new VDM({ shape, schedule: new FixedLinear(readmeEnds), denoiser });
    vdm.initialise(new Streams(1));
    const pixels = randint(0, 256, [64, ...shape], new Generator({ seed: 3 })).to("uint8");
    const streams = new Streams(2);
    const bits = Array.from({ length: 16 }, (_, pass) =>
      noGrad(() =>
        scope(() => {
          const { diffusion } = vdm.bound({ pixels }, { streams: streams.at(pass), pass: {} });
          return bitsPerDim(diffusion, vdm.dimensions).mean().item();
        }),
      ),
    );
    const mean = bits.reduce((sum, x) => sum + x) / bits.length;
    // eps_hat = z: 1/2 gamma' (alpha^2 m2 + (1 - sigma)^2) integrated over t, with 0.726409 and 0.575551 the integrals of
    // alpha^2 and (1 - sigma)^2, and (1 - 1/256^2) / 3 the mean square m2 of uniform pixels. One pass of 64 times and
    // 12,288 draws is off by 2 % or so, the mean of 16 by a quarter of that.
    const m2 = (1 - 256 ** -2) / 3;
    const expected = ((18.3 / 2) * (0.575551 + 0.726409 * m2)) / Math.LN2;
    expect(Math.abs(mean / expected - 1)).toBeLessThan(0.02);
  });
});

test("a missing condition is a condition of zeros", () => {
  const vdm = new VDM({
    shape: [2],
    schedule: new FixedLinear(readmeEnds),
    denoiser: new GaussianDenoiser(0, 1),
  });
  const x = tensor([[3, 200]], float64);
  const draws = {
    t: tensor([0.3], float64),
    eps: tensor([[0.1, 1]], float64),
    eps0: tensor([[1, -1]], float64),
  };
  const zeros = vdm.evaluate(x, draws, { pass: {}, condition: tensor([0], float64) });
  close(vdm.evaluate(x, draws, { pass: {} }).bound.diffusion, zeros.bound.diffusion, 0, "diffusion");
});
