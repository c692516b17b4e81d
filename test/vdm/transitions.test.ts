/** Identities that the forward process, its posterior and the losses made of them satisfy, at random points. */
import { describe, expect, test } from "vitest";
import { FixedLinear, NoiseLevel, predictionKinds, Transition } from "../../src/diffusion/index.js";
import { VDM } from "../../src/systems/vdm.js";
import { full, Generator, rand, randn, Streams, type Tensor } from "../../src/torch/index.js";
import { close } from "../golden.js";
import { GaussianDenoiser } from "./gaussian.js";
import { readmeEnds } from "./toy.js";

const float64 = { dtype: "float64" } as const;
const generator = new Generator({ seed: 1 });
const count = 200;
const normal = () => randn([count], generator, float64);

// gamma_t uniform in [-8, 5], gamma_s below it by 0.1 to 5: levels whose densities keep enough digits to be compared
const t = new NoiseLevel(rand([count], generator, float64).mul(13).sub(8));
const s = new NoiseLevel(t.gamma.sub(rand([count], generator, float64).mul(4.9).add(0.1)));
const step = new Transition(s, t);

/** `log N(x; mean, variance)` */
const logNormal = (x: Tensor, mean: Tensor, variance: Tensor) =>
  x
    .sub(mean)
    .square()
    .div(variance)
    .add(variance.mul(2 * Math.PI).log())
    .mul(-0.5);

describe("levels", () => {
  test("alpha^2 + sigma^2 = 1 and SNR = exp(-gamma) = alpha^2 / sigma^2", () => {
    close(t.alpha2.add(t.sigma2), new Array(count).fill(1), 1e-15, "alpha^2 + sigma^2");
    close(t.alpha2.div(t.sigma2), t.snr, 1e-13, "SNR");
    close(t.alpha.square(), t.alpha2, 1e-15, "alpha^2");
    close(t.sigma.square(), t.sigma2, 1e-15, "sigma^2");
  });

  test("q(z_t | z_s) composed with q(z_s | x) is q(z_t | x)", () => {
    close(step.alphaRatio.mul(s.alpha), t.alpha, 1e-13, "mean");
    close(step.alphaRatio.square().mul(s.sigma2).add(step.variance), t.sigma2, 1e-13, "variance");
    close(
      step.alphaRatio.square().add(step.variance),
      new Array(count).fill(1),
      1e-13,
      "alpha_ts^2 + sigma2_ts",
    );
    close(step.variance, t.sigma2.mul(step.c), 1e-13, "sigma2_ts");
  });
});

describe("posterior", () => {
  const x = normal();
  const zs = s.diffuse(x, normal());
  const zt = step.alphaRatio.mul(zs).add(step.variance.sqrt().mul(normal()));
  const { posteriorMean } = step;
  const mean = posteriorMean.z.mul(zt).add(posteriorMean.x.mul(x));

  test("Bayes: q(z_s | z_t, x) q(z_t | x) = q(z_s | x) q(z_t | z_s)", () => {
    const left = logNormal(zs, mean, step.posteriorVariance).add(logNormal(zt, t.alpha.mul(x), t.sigma2));
    const right = logNormal(zs, s.alpha.mul(x), s.sigma2).add(
      logNormal(zt, step.alphaRatio.mul(zs), step.variance),
    );
    close(left, right, 1e-9, "log density", { absolute: 1e-9 });
  });

  test("KL(q(z_s | z_t, x) || p(z_s | z_t)) = 1/2 (exp(gamma_t - gamma_s) - 1) (eps - eps_hat)^2", () => {
    const eps = zt.sub(t.alpha.mul(x)).div(t.sigma);
    const epsHat = eps.add(normal());
    const fromNoise = step.posteriorMeanFromNoise;
    const predicted = fromNoise.z.mul(zt).add(fromNoise.eps.mul(epsHat));
    const divergence = mean.sub(predicted).square().div(step.posteriorVariance).mul(0.5);
    close(divergence, step.snrRatioMinusOne.mul(eps.sub(epsHat).square()).mul(0.5), 1e-9, "KL");
  });
});

describe("four forms of one prediction", () => {
  // A denoiser that is wrong (its m and v are not the data's) has an error to weigh.
  const systems = predictionKinds.map((prediction) => {
    const denoiser = new GaussianDenoiser(0.3, 0.5, prediction);
    return new VDM({ shape: [3, 4, 4], schedule: new FixedLinear(readmeEnds), denoiser, prediction });
  });
  const x = rand([5, 3, 4, 4], generator, float64).mul(256).floor();
  const draws = {
    t: rand([5], generator, float64),
    eps: randn(x.shape, generator, float64),
    eps0: randn(x.shape, generator, float64),
  };

  test.each([0, 7])("have one loss, T = %i", (steps) => {
    const [first, ...others] = systems.map(
      (vdm) => vdm.evaluate(x, draws, { pass: {}, steps }).bound.diffusion,
    );
    for (const [i, other] of others.entries())
      close(other, first as Tensor, 1e-9, predictionKinds[i + 1] as string);
  });

  test.each(["ancestral", "ancestral-clipped", "ddim"])("take one sampling step: %s", (sampler) => {
    const steps = 5;
    const run = (vdm: VDM) => {
      let state = vdm.start({ count: 4, steps, sampler, streams: new Streams(7), pass: {} });
      for (let i = 0; i < steps; i++) state = vdm.step(state, i);
      return state.z;
    };
    const [first, ...others] = systems.map(run);
    for (const [i, other] of others.entries())
      close(other, first as Tensor, 1e-9, predictionKinds[i + 1] as string);
  });
});

test("the loss of T steps goes to the continuous one as gamma' / (2 T)", () => {
  const schedule = new FixedLinear(readmeEnds);
  const vdm = new VDM({ shape: [1, 2, 2], schedule, denoiser: new GaussianDenoiser(0.3, 0.5) });
  const x = rand([3, 1, 2, 2], generator, float64).mul(256).floor();
  const eps = randn(x.shape, generator, float64);
  const diffusion = (t: number, steps: number) =>
    vdm.evaluate(x, { t: full([3], t, float64), eps, eps0: eps }, { pass: {}, steps }).bound.diffusion;
  const limit = diffusion(0.5, 0);
  const range = readmeEnds.gammaMax - readmeEnds.gammaMin;
  for (const T of [1000, 2000, 4000]) {
    // just below 1/2 is the step that ends there; (T / gamma') expm1(gamma' / T) - 1 = gamma' / (2 T) + O(1 / T^2)
    const error = diffusion(0.5 - 1e-9, T)
      .div(limit)
      .sub(1)
      .mul(T);
    for (const value of error.toArray()) expect(Math.abs(value / (range / 2) - 1)).toBeLessThan(0.01);
  }
});
