/** The minimum-variance gradient and the optimiser against golden/vdm/variance_min and optim. */
import { describe, test } from "vitest";
import { bitsPerDim } from "../../src/diffusion/index.js";
import { AdamW, learningRateAt, Parameter, zero } from "../../src/nn/index.js";
import { VDM } from "../../src/systems/vdm.js";
import { clearGradients } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { readmeEnds, storedParameters, storedSchedule, ToyNetwork } from "./toy.js";

describe("minimum-variance gradient", () => {
  const file = new GoldenFile("vdm", "variance_min");
  const schedule = storedSchedule(file, "nnet_paper", "sched.", readmeEnds);
  const denoiser = new ToyNetwork(file);
  const x = file.image("x");
  const draws = { t: file.tensor("t"), eps: file.image("eps"), eps0: file.image("eps_0") };
  const scheduleGradient = "minimum-variance";
  const vdm = new VDM({ shape: x.shape.slice(1), schedule, denoiser, scheduleGradient });

  test("the bound and the loss of each image", () => {
    const { gamma, dGamma } = schedule.at(draws.t);
    close(gamma, file.tensor("gamma_t"), 1e-12, "gamma_t");
    close(dGamma, file.tensor("dgamma_t"), 1e-11, "dgamma_t");
    const { loss, terms } = vdm.objectiveAt(x, draws, { pass: {} });
    close(terms.diffusion, file.tensor("L"), 1e-9, "L");
    close(loss, file.tensor("bound"), 1e-9, "bound");
  });

  test("its cotangents in gamma(t) and gamma'(t)", () => {
    const value = schedule.at(draws.t);
    const at = {
      gamma: value.gamma.detach().requireGrad(),
      dGamma: value.dGamma.detach().requireGrad(),
    };
    const { bound } = vdm.evaluate(x, draws, { pass: {}, at });
    bitsPerDim(bound.diffusion, vdm.dimensions).mean().backward();
    close(at.gamma.grad, file.tensor("cot_gamma"), 1e-8, "cot_gamma");
    close(at.dGamma.grad, file.tensor("cot_dgamma"), 1e-8, "cot_dgamma");
  });

  test("the inside follows the second moment, the ends and the network the bound", () => {
    clearGradients(vdm.parameters().map(({ value }) => value));
    vdm.backward(vdm.objectiveAt(x, draws, { pass: {} }));
    const parameters = new Map([...schedule.values(), ...denoiser.values()]);
    for (const prefix of ["grad_interior.", "grad_ends.", "grad_net."]) {
      const expected = storedParameters(file, prefix);
      for (const [name, gradient] of expected)
        close(parameters.get(name)?.grad, gradient, 1e-8, prefix + name, {
          absolute: 1e-12, // l3_bias cancels: its gradient is 0 up to rounding
        });
      if (expected.size === 0) throw new Error(`no ${prefix}* in the file`);
    }
  });
});

test("AdamW, its warm-up and the moving average", () => {
  const file = new GoldenFile("vdm", "optim");
  const [learningRate, b1, b2, epsilon, weightDecay, warmupSteps, emaRate] = file.numbers("hyper") as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const groups = file.matching(/^(\w+)\.init$/);
  const parameters = groups.map((name) => {
    const init = file.tensor(`${name}.init`);
    const parameter = new Parameter(init.shape, zero, { decay: name !== "bias" });
    parameter.set(init);
    return parameter;
  });
  const rates = file.numbers("lr");
  const options = {
    learningRate,
    betas: [b1, b2],
    epsilon,
    weightDecay,
    warmupSteps,
    decay: "constant",
    totalSteps: rates.length,
    clipNorm: null,
    emaRate,
  } as const;
  const optimiser = new AdamW(parameters, options);
  for (const [k, rate] of rates.entries()) {
    for (const [i, name] of groups.entries())
      parameters[i]?.value
        .mul(file.tensor(`${name}.grads`).select(0, k))
        .sum()
        .backward();
    close(learningRateAt(k, options), rate, 1e-15, `rate of step ${k}`);
    close(optimiser.step().learningRate, rate, 1e-15, `rate used at step ${k}`);
    for (const [i, name] of groups.entries()) {
      const after = (what: string) => file.tensor(`${name}.${what}`).select(0, k);
      close(parameters[i]?.value.detach(), after("params"), 1e-12, `${name} after step ${k}`);
      close(optimiser.average[i], after("ema"), 1e-12, `average of ${name} after step ${k}`);
    }
  }
});
