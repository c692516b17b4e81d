/** The optimiser against golden/mulan/optimizer: warm-up from 0, decay of some weights, the moving average. */
import { expect, test } from "vitest";
import { AdamW, learningRateAt, Parameter, zero } from "../../src/nn/index.js";
import { cat } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("mulan", "optimizer");

test("every step, and the first changes nothing", () => {
  const [learningRate = 0, b1 = 0, b2 = 0, epsilon = 0, weightDecay = 0, emaRate = 0] = file.numbers("hyper");
  const rates = file.numbers("lr");
  const init = file.tensor("init");
  // The mask is one of elements: each is a parameter of its own here.
  const parameters = file.numbers("decay_mask").map((mask, i) => {
    const parameter = new Parameter([1], zero, { decay: mask === 1 });
    parameter.set(init.narrow(0, i, 1));
    return parameter;
  });
  expect(new Set(parameters.map(({ decay }) => decay))).toEqual(new Set([true, false]));
  const options = {
    learningRate,
    betas: [b1, b2],
    epsilon,
    weightDecay,
    warmupSteps: file.number("warmup_steps"),
    decay: "constant",
    totalSteps: rates.length,
    clipNorm: null,
    emaRate,
  } as const;
  const optimiser = new AdamW(parameters, options);
  const values = () => cat(parameters.map(({ value }) => value.detach()));
  for (const [k, rate] of rates.entries()) {
    const gradients = file.tensor("grads").select(0, k);
    for (const [i, { value }] of parameters.entries())
      value
        .mul(gradients.narrow(0, i, 1))
        .sum()
        .backward();
    close(learningRateAt(k, options), rate, 1e-15, `rate of step ${k}`);
    close(optimiser.step().learningRate, rate, 1e-15, `rate used at step ${k}`);
    close(values(), file.tensor("params").select(0, k), 1e-12, `weights after step ${k}`);
    close(cat(optimiser.average), file.tensor("ema").select(0, k), 1e-12, `average after step ${k}`);
    if (k === 0) close(values(), init, 0, "weights after the first step");
  }
});
