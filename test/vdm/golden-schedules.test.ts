/** Schedules and Gaussian transitions against golden/vdm/schedules and transitions. */
import { describe, expect, test } from "vitest";
import { errorWeight, NoiseLevel, priorDivergence, Transition } from "../../src/diffusion/index.js";
import { grad } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { endsOfLine, storedParameters, storedSchedule } from "./toy.js";

describe("schedules", () => {
  const file = new GoldenFile("vdm", "schedules");
  const times = file.numbers("t");

  for (const name of file.matching(/^(\w+)\.gamma$/)) {
    // A fixed schedule's ends are its values at 0 and 1: exactly stored where those times are, else on the line.
    const ends = endsOfLine(times, file.numbers(`${name}.gamma`));
    const schedule = storedSchedule(file, name, `${name}.param.`, ends);

    test(`${name}: gamma, gamma', alpha, sigma and log SNR`, () => {
      const { gamma, dGamma } = schedule.at(file.tensor("t"));
      const level = new NoiseLevel(gamma);
      close(gamma, file.tensor(`${name}.gamma`), 1e-12, "gamma");
      close(dGamma, file.tensor(`${name}.dgamma_dt`), 1e-11, "gamma'");
      close(level.alpha, file.tensor(`${name}.alpha`), 1e-12, "alpha");
      close(level.sigma, file.tensor(`${name}.sigma`), 1e-12, "sigma");
      close(level.snr.log(), file.tensor(`${name}.log_snr`), 1e-12, "log SNR");
    });

    if (file.has(`${name}.c1`))
      test(`${name}: gradients through gamma and gamma'`, () => {
        const { gamma, dGamma } = schedule.at(file.tensor("t"));
        const loss = gamma
          .mul(file.tensor(`${name}.c1`))
          .add(dGamma.mul(file.tensor(`${name}.c2`)))
          .sum();
        const expected = storedParameters(file, `${name}.grad.`);
        const parameters = schedule.values();
        expect(parameters.map(([parameter]) => parameter).sort()).toEqual([...expected.keys()].sort());
        const gradients = grad(
          [loss],
          parameters.map(([, value]) => value),
        );
        for (const [i, [parameter, value]] of parameters.entries())
          close(
            gradients[i] ?? value.mul(0),
            expected.get(parameter) ?? [],
            1e-9,
            `gradient of ${parameter}`,
            {
              absolute: 1e-12 * Math.abs(loss.item()), // a bias that cancels has gradient 0 up to rounding
            },
          );
      });
  }
});

test("transitions between any two levels, however close", () => {
  const file = new GoldenFile("vdm", "transitions");
  const s = new NoiseLevel(file.tensor("gamma_s"));
  const t = new NoiseLevel(file.tensor("gamma_t"));
  const step = new Transition(s, t);
  const { z, x } = step.posteriorMean;
  const fromNoise = step.posteriorMeanFromNoise;
  const { snrRatioMinusOne } = step;
  const actual = {
    alpha_s: s.alpha,
    sigma_s: s.sigma,
    alpha_t: t.alpha,
    sigma_t: t.sigma,
    alpha_ts: step.alphaRatio,
    sigma2_ts: step.variance,
    c: step.c,
    muQ_coef_z: z,
    muQ_coef_x: x,
    sigma_Q: step.posteriorVariance.sqrt(),
    muP_coef_z_eps: fromNoise.z,
    muP_coef_eps: fromNoise.eps,
    // the mean in x with x = alpha_t z - sigma_t v
    muP_coef_z_v: z.add(x.mul(t.alpha)),
    muP_coef_v: x.mul(t.sigma).neg(),
    weight_x: snrRatioMinusOne.mul(errorWeight("x", t)),
    weight_eps: snrRatioMinusOne.mul(errorWeight("eps", t)),
    weight_v: snrRatioMinusOne.mul(errorWeight("v", t)),
  };
  // They span ten orders of magnitude: each must have its own digits.
  for (const [key, value] of Object.entries(actual))
    close(value, file.tensor(key), 1e-12, key, { rule: "relative" });

  const kl = priorDivergence(file.tensor("kl.f").reshape([-1, 1]), file.tensor("kl.gamma_1"));
  close(kl, file.tensor("kl.value"), 1e-10, "kl.value", { rule: "relative" });
});
