/** DiffEnc's formulas against each other, against VDM's, and at the ends of time. */
import { describe, expect, test } from "vitest";
import {
  ancestral,
  convertPrediction,
  Identity,
  NoiseLevel,
  NonTrainable,
  perImage,
  predictionKinds,
  Trainable,
  Transition,
} from "../../src/diffusion/index.js";
import type { DiffEnc } from "../../src/systems/diffenc.js";
import type { GaussianDiffusion } from "../../src/systems/gaussian.js";
import { VDM } from "../../src/systems/vdm.js";
import {
  directionalDerivative,
  full,
  Generator,
  grad,
  noGrad,
  randn,
  Streams,
  scope,
  type Tensor,
  tensor,
  zerosLike,
} from "../../src/torch/index.js";
import { close, same } from "../golden.js";
import { BestDenoiser } from "./gaussian.js";
import {
  context,
  denoiser,
  diffEnc,
  draws,
  encoderMlp,
  f,
  Said,
  schedule,
  shape,
  trained,
  x,
} from "./points.js";

const float64 = { dtype: "float64" } as const;
const options = { pass: {}, condition: context.condition };
const level = (gamma: Tensor) => new NoiseLevel(perImage(gamma, 2));

/** The diffusion term, nats per point. */
const diffusion = (system: GaussianDiffusion, steps = 0, at = draws) =>
  noGrad(() => system.evaluate(x, at, { ...options, steps }).bound.diffusion);

/** The latents of a chain of samples. */
function chain(system: GaussianDiffusion, steps: number, count = 4): Tensor[] {
  return noGrad(() => {
    let state = system.start({ count, steps, sampler: "ancestral", streams: new Streams(5), pass: {} });
    return Array.from({ length: steps }, (_, i) => {
      state = system.step(state, i);
      return state.z;
    });
  });
}

describe("the forward process", () => {
  const [s, t] = [0.3, 0.45].map((time) => level(schedule.at(tensor([time], float64)).gamma)) as [
    NoiseLevel,
    NoiseLevel,
  ];
  const step = new Transition(s, t);
  const draw = (seed: number) => randn([5, 3], new Generator({ seed }), float64);
  const [xS, xT, zT] = [draw(1), draw(2), draw(3)];
  const moved = t.alpha.mul(xT.sub(xS)); // of the mean of q(z_t | z_s, x), beside alpha_ts z_s

  test("q(z_s | x) pushed through q(z_t | z_s, x) is q(z_t | x)", () => {
    close(step.alphaRatio.mul(s.alpha).mul(xS).add(moved), t.alpha.mul(xT), 1e-14, "mean");
    const variance = step.alphaRatio.square().mul(s.sigma2).add(step.variance);
    close(variance, t.sigma2, 1e-14, "variance");
  });

  test("q(z_s | z_t, x), where the sampler goes when told the truth, is Bayes' rule of the two", () => {
    const precision = s.sigma2.reciprocal().add(step.alphaRatio.square().div(step.variance));
    close(step.posteriorVariance, precision.reciprocal(), 1e-13, "sigma_Q^2");
    const evidence = step.alphaRatio.div(step.variance).mul(zT.sub(moved));
    const mean = s.alpha.div(s.sigma2).mul(xS).add(evidence).div(precision);
    const motion = xS.sub(xT);
    const prediction = { x: xT, eps: convertPrediction(xT, "x", "eps", zT, t) };
    const noise = () => zerosLike(zT);
    close(ancestral({ z: zT, prediction, from: t, to: s, noise, motion }), mean, 1e-12, "mu_Q");
  });
});

describe.each(predictionKinds)("the identity without the counter-term is VDM: %s", (prediction) => {
  const vdm = new VDM({ shape, schedule, denoiser, prediction });
  const encoded = diffEnc({ encoding: new Identity(), counterTerm: "none", prediction });

  test.each([0, 1, 7])("every term, T = %i", (steps) => {
    const of = (system: GaussianDiffusion) =>
      noGrad(() => system.evaluate(x, draws, { ...options, steps }).bound);
    const [expected, actual] = [of(vdm), of(encoded)];
    for (const [term, values] of Object.entries(expected)) close(actual[term], values, 1e-12, term);
  });

  test("every step of a sample", () => {
    const expected = chain(vdm, 5);
    for (const [i, z] of chain(encoded, 5).entries()) same(z, expected[i] as Tensor, `z after step ${i + 1}`);
  });

  test("with the counter-term it is another model", () => {
    const other = diffEnc({ encoding: new Identity(), prediction });
    const gap = diffusion(other).sub(diffusion(vdm)).abs().div(diffusion(vdm));
    expect(gap.max().item()).toBeGreaterThan(1e-2);
  });
});

describe.each([0, 9])("T = %i", (steps) => {
  test("VDM's loss is the same of one prediction said as eps and as v", () => {
    const said = new Said(denoiser, "v", "eps"); // eps_hat = sigma z + alpha v_hat
    const v = diffusion(new VDM({ shape, schedule, denoiser, prediction: "v" }), steps);
    close(diffusion(new VDM({ shape, schedule, denoiser: said }), steps), v, 1e-11, "eps");
  });

  test.each(["sigma2", "none"] as const)("and so is DiffEnc's, counter-term %s", (counterTerm) => {
    const expected = diffusion(diffEnc({ counterTerm }), steps);
    for (const prediction of predictionKinds) {
      const said = new Said(denoiser, "v", prediction);
      close(
        diffusion(diffEnc({ counterTerm, prediction, denoiser: said }), steps),
        expected,
        1e-10,
        prediction,
      );
    }
  });

  test("an encoder that has learned nothing is the non-trainable encoding", () => {
    const fresh = diffEnc({ encoding: new Trainable({ network: encoderMlp("fresh") }) });
    const fixed = diffEnc({ encoding: new NonTrainable() });
    const of = (system: DiffEnc) => noGrad(() => system.evaluate(x, draws, { ...options, steps }));
    const [expected, actual] = [of(fixed), of(fresh)];
    close(actual.xt, expected.xt, 1e-14, "x_t");
    // By differences of x_s and x_t in the one, in closed form in the other.
    for (const [term, values] of Object.entries(expected.bound))
      close(actual.bound[term], values, 1e-10, term);
  });
});

describe.each([
  ["identity", new Identity()],
  ["non-trainable", new NonTrainable()],
  ["trainable", trained],
] as const)("the forms of the continuous loss, %s encoding", (name, encoding) => {
  const { gamma, dGamma } = schedule.at(draws.t);
  const { alpha, alpha2, sigma, sigma2, snr } = level(gamma);
  /** x_t and dx_t/dlambda, lambda = -gamma, from x_t alone. */
  const moving = noGrad(() => directionalDerivative((g) => encoding.at(f, g, context), gamma));
  const [xt, rate] = [moving.value, moving.derivative.neg()];
  const zt = alpha.mul(xt).add(sigma.mul(draws.eps));
  const v = alpha.mul(draws.eps).sub(sigma.mul(xt));
  const vHat = noGrad(() => denoiser.forward(zt, gamma, context.condition, {}));
  const xHat = alpha.mul(zt).sub(sigma.mul(vHat));
  const epsHat = sigma.mul(zt).add(alpha.mul(vHat));
  const loss = (weight: Tensor | number, bracket: Tensor) =>
    dGamma.div(2).mul(bracket.square().mul(weight).sum([1]));

  test("dx_t/dlambda", () => {
    const { x: same, surplus } = noGrad(() => encoding.withRate(f, gamma, context));
    close(same, xt, 1e-14, "x_t");
    close(same.sub(surplus).mul(sigma2), rate, 1e-10, "as the losses have it", { absolute: 1e-14 });
    // Central differences: an error of h^2/6 times a third derivative of a few units, and of rounding, 1e-16/h.
    const h = 1e-5;
    const at = (by: number) => noGrad(() => encoding.at(f, gamma.sub(by), context));
    close(
      rate,
      at(h)
        .sub(at(-h))
        .div(2 * h),
      1e-7,
      "central differences",
      { absolute: 1e-9 },
    );
  });

  // Section 3.2, as written there.
  test.each([
    [1, "sigma2"],
    [0, "none"],
  ] as const)("x, eps and v form, k = %i", (k, counterTerm) => {
    const expected = diffusion(diffEnc({ encoding, counterTerm }));
    const counter = sigma2.mul(k).mul(xHat);
    const unforeseen = rate.sub(counter);
    close(loss(snr, xt.sub(xHat).add(unforeseen)), expected, 1e-9, "x form");
    const epsBracket = draws.eps.sub(epsHat).sub(alpha.div(sigma).mul(unforeseen));
    close(loss(1, epsBracket), expected, 1e-9, "eps form");
    const vBracket = v.sub(vHat).add(counter.div(sigma)).sub(rate.div(sigma));
    close(loss(alpha2, vBracket), expected, 1e-9, "v form");
  });

  // Section 3.3, as written there.
  if (name === "identity") return;
  test("the official v form", () => {
    const own = encoderMlp();
    const y = noGrad(() => directionalDerivative((g) => own.forward(f, g, context.condition, {}), gamma));
    const tail = name === "trainable" ? xt.neg().add(y.value).add(y.derivative) : alpha2.mul(f).neg();
    const literal = loss(alpha2, v.sub(vHat).add(sigma.mul(xHat.add(tail))));
    close(diffusion(diffEnc({ encoding })), literal, 1e-10, "loss");
  });
});

describe("the ends of time", () => {
  test.each(predictionKinds)(
    "loss and gradient are finite at t = 0 and t = 1, for one point alone: %s",
    (prediction) => {
      const said = new Said(denoiser, "v", prediction);
      for (const encoding of [new Identity(), new NonTrainable(), trained])
        for (const time of [0, 1]) {
          const one = (values: Tensor) => values.narrow(0, 0, 1);
          const system = diffEnc({ encoding, prediction, denoiser: said });
          const at = { t: tensor([time], float64), eps: one(draws.eps), eps0: one(draws.eps0) };
          const { bound } = system.evaluate(one(x), at, { pass: {}, condition: one(context.condition) });
          const gradients = grad([bound.diffusion.sum()], [denoiser.dense0.weight.value]);
          for (const values of [bound.diffusion, ...gradients])
            expect(values?.isFinite().all().item(), `t = ${time}`).toBe(1);
        }
    },
  );

  test("x_1 = 0.00669 x + 0.99331 y_1 is all but free", () => {
    const gamma1 = full([x.dim(0)], 5, float64);
    const y = encoderMlp().forward(f, gamma1, context.condition, {});
    const sigma2 = 1 / (1 + Math.exp(-5));
    expect([1 - sigma2, sigma2].map((value) => value.toFixed(5))).toEqual(["0.00669", "0.99331"]);
    close(trained.at(f, gamma1, context), f.mul(1 - sigma2).add(y.mul(sigma2)), 1e-12, "x_1");
  });
});

test("samples of the best denoiser of Gaussian data have its mean and variance", () => {
  const [m, v, count, steps] = [-0.3, 0.5, 10_000, 500];
  const best = new BestDenoiser({ m, v, kappa: 0, counter: 1, kind: "v" });
  const system = diffEnc({ shape: [1], encoding: new NonTrainable(), denoiser: best });
  const z0 = noGrad(() =>
    scope(() => {
      let state = system.start({ count, steps, sampler: "ancestral", streams: new Streams(5), pass: {} });
      for (let i = 0; i < steps; i++) state = { ...state, z: scope(() => system.step(state, i).z) };
      return state.z;
    }),
  );
  // alpha_0 is 1 but for 1e-6. Five standard errors, and what 500 steps are off by: 0.001 and 1.6 % by the recursion of the two
  // moments, half of that for twice the steps. (Without the counter-term it gives -0.200 and 0.331.)
  expect(Math.abs(z0.mean().item() - m)).toBeLessThan(5 * Math.sqrt(v / count) + 0.001);
  expect(Math.abs(z0.variance().item() / v - 1)).toBeLessThan(5 * Math.sqrt(2 / count) + 0.016);
});
