/** Gaussian data, whose bound is known in closed form, against golden/vdm/gaussian. */
import { describe, test } from "vitest";
import {
  convertPrediction,
  errorWeight,
  FixedLinear,
  NoiseLevel,
  priorDivergence,
  Transition,
} from "../../src/diffusion/index.js";
import { arange, linspace, scope, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("vdm", "gaussian");
const m = file.tensor("m");
const v = file.tensor("v");

/** E ||x - E[x | z_t]||^2 = v / (1 + v SNR), `[..., n]` for levels `[..., 1]`. */
const squaredError = (level: NoiseLevel) => v.div(level.snr.mul(v).add(1));

describe.each(file.matching(/^(\w+)\.L_inf$/))("%s", (group) => {
  const [gammaMin, gammaMax] = file.numbers(`${group}.gamma`) as [number, number];
  const schedule = new FixedLinear({ gammaMin, gammaMax });
  const { gamma0, gamma1 } = schedule.ends();

  test("the diffusion loss of T steps", () => {
    const depths = file.numbers(`${group}.T`);
    const expected = file.tensor(`${group}.L_T`);
    for (const [row, T] of depths.entries()) {
      const loss = scope(() => {
        const i = arange(1, T + 1, 1, { dtype: "float64" }).unsqueeze(1);
        const s = new NoiseLevel(schedule.at(i.sub(1).div(T)).gamma);
        const t = new NoiseLevel(schedule.at(i.div(T)).gamma);
        const weight = new Transition(s, t).snrRatioMinusOne.mul(errorWeight("x", t));
        return weight.mul(squaredError(t)).sum([0]).mul(0.5);
      });
      close(loss, expected.select(0, row), 1e-10, `L_${T}`);
    }
  });

  /** `1/2 gamma'(t) SNR(t) E ||x - x_hat||^2` integrated over t by Simpson's rule: its error, h^4, is below 1e-14. */
  const continuous = (): Tensor => {
    const n = 40_000;
    const { gamma, dGamma } = schedule.at(linspace(0, 1, n + 1, { dtype: "float64" }).unsqueeze(1));
    const level = new NoiseLevel(gamma);
    const integrand = dGamma.mul(0.5).mul(errorWeight("x", level)).mul(squaredError(level));
    const odd = integrand.slice(0, 1, n, 2).sum([0]);
    const even = integrand.slice(0, 2, n, 2).sum([0]);
    return integrand
      .select(0, 0)
      .add(integrand.select(0, n))
      .add(odd.mul(4))
      .add(even.mul(2))
      .div(3 * n);
  };

  test("the terms of the continuous bound, its gap to the entropy, and their sum", () => {
    const diffusion = continuous();
    // The divergence is linear in x^2, so its mean is its value at E[x^2].
    const prior = priorDivergence(v.add(m.square()).sqrt().unsqueeze(1), gamma1);
    const noise = new NoiseLevel(gamma0).snr.reciprocal(); // variance of x given z_0: exp(gamma_0)
    const reconstruction = noise
      .mul(2 * Math.PI)
      .log()
      .add(1)
      .mul(0.5)
      .expand(v.shape);
    const entropy = v
      .mul(2 * Math.PI * Math.E)
      .log()
      .mul(0.5);
    const bound = diffusion.add(prior).add(reconstruction);
    close(diffusion, file.tensor(`${group}.L_inf`), 1e-12, "L_inf");
    close(prior, file.tensor(`${group}.prior`), 1e-11, "prior");
    close(reconstruction, file.tensor(`${group}.recon`), 1e-12, "recon");
    close(entropy, file.tensor(`${group}.entropy`), 1e-12, "entropy");
    close(bound, file.tensor(`${group}.neg_elbo_inf`), 1e-11, "neg_elbo_inf");
    // The gap is small beside the numbers it is the difference of: their rounding, a few 1e-15, is allowed.
    close(bound.sub(entropy), file.tensor(`${group}.gap`), 1e-10, "gap", { absolute: 1e-13 });
  });

  test("the gap to the entropy by itself", () => {
    const end = new NoiseLevel(gamma1);
    // KL(N(alpha_1 m, alpha_1^2 v + sigma_1^2) || N(0, 1)), whose variance less 1 is d = alpha_1^2 (v - 1)
    const d = end.alpha2.mul(v.sub(1));
    const divergence = end.alpha2.mul(m.square()).add(d).sub(d.log1p()).mul(0.5);
    const start = new NoiseLevel(gamma0).snr.mul(v).reciprocal().log1p().mul(0.5);
    close(start.add(divergence), file.tensor(`${group}.gap`), 1e-10, "gap");
  });
});

test("the optimal denoiser as x, eps and v", () => {
  const level = new NoiseLevel(file.tensor("denoiser.gamma"));
  const { alpha, alpha2, sigma2 } = level;
  const z = file.tensor("denoiser.z");
  const gain = alpha.mul(v).div(alpha2.mul(v).add(sigma2));
  const x = m.add(gain.mul(z.sub(alpha.mul(m))));
  close(x, file.tensor("denoiser.x_hat"), 1e-12, "x_hat");
  close(convertPrediction(x, "x", "eps", z, level), file.tensor("denoiser.eps_hat"), 1e-10, "eps_hat");
  close(convertPrediction(x, "x", "v", z, level), file.tensor("denoiser.v_hat"), 1e-10, "v_hat");
});
