/** Four optimiser steps of the small U-Net, and AdamW by itself, against golden/daed/{unet_io,samplers}. */
import { describe, test } from "vitest";
import {
  GaussianChain,
  linearBetas,
  linearCombineBetas,
  type ReverseType,
} from "../../src/diffusion/index.js";
import { AdamW, constant, Module, Parameter } from "../../src/nn/index.js";
import { type ChainDiffusion, DAED, DDGM } from "../../src/systems/index.js";
import { type Dtype, Streams, scope, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { storedUnet, storedWeights } from "../networks/stored-unet.js";

const io = new GoldenFile("daed", "unet_io");
const T = io.number("train/T");
const eps = (variance: ReverseType["variance"]): ReverseType => ({ mean: "eps", variance });
const steady = { warmupSteps: 0, decay: "constant", totalSteps: 1, clipNorm: null } as const;

/** The weights of the part that learns variances too. */
const learning = () =>
  storedWeights({
    "out.2.weight": io.tensor("learn_sigma1/out.2.weight"),
    "out.2.bias": io.tensor("learn_sigma1/out.2.bias"),
  });
/** The second network of the golden pair. */
const second = () => {
  const weights = storedWeights();
  const stored = (name: string) => (weights.get(name) as Tensor).to("float64");
  return storedWeights({
    "out.2.weight": stored("out.2.weight").neg(),
    "time_embed.0.bias": stored("time_embed.0.bias").add(0.5),
  });
};

interface Case {
  readonly dtype: "float64" | "float32";
  build(shape: readonly number[]): ChainDiffusion;
  /** The golden's name of a parameter of the system. */
  name(own: string): string;
}

const cases: Readonly<Record<string, Case>> = {
  ddgm_simple: {
    dtype: "float64",
    build: (shape) =>
      new DDGM({
        ...{ shape, chain: new GaussianChain(linearBetas(T)), type: eps("fixed-large"), loss: "simple" },
        ...{ sampling: "uniform", network: storedUnet(storedWeights(), { dtype: "float64" }) },
      }),
    name: (own) => own.replace(/^network\./, ""),
  },
  ddgm_vlb: {
    dtype: "float64",
    build: (shape) =>
      new DDGM({
        ...{ shape, chain: new GaussianChain(linearBetas(T)), type: eps("learned-range"), loss: "vlb" },
        ...{ sampling: "uniform", network: storedUnet(learning(), { dtype: "float64" }) },
      }),
    name: (own) => own.replace(/^network\./, ""),
  },
  daed_simple: {
    dtype: "float32",
    build: (shape) =>
      new DAED({
        ...{ shape, betas: linearCombineBetas(T, 0.1), type: eps("fixed-large"), loss: "simple" },
        ...{ sampling: "dae-uniform", denoiser: storedUnet(storedWeights(), { dtype: "float32" }) },
        generator: storedUnet(second(), { dtype: "float32" }),
      }),
    name: (own) => own.replace(/^denoiser\./, "unet_1.").replace(/^generator\./, "unet_2."),
  },
};

describe.each(io.matching(/^train\/(\w+)\/losses_f32$/))("%s", (name) => {
  const { build, dtype, name: official } = cases[name] as Case;

  test("losses, weights and their average", () => {
    const x0 = io.tensor("train/x0_uint8").to(dtype).div(127.5).sub(1);
    const noise = io.tensor("train/noise").to(dtype);
    const steps = io.tensor("train/t").to("int64");
    const key = `train/${name}/losses_${dtype === "float64" ? "f64" : "f32"}`;
    const expected = io.tensor(key);
    const system = build(x0.shape.slice(1));
    const optimiser = new AdamW(system.parameters(), {
      ...{ learningRate: 1e-3, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0, emaRate: 0.99 },
      ...steady,
    });
    for (let k = 0; k < steps.dim(0); k++) {
      const losses = scope(() => {
        const point = { x0, t: steps.select(0, k), noise: noise.select(0, k) };
        const objective = system.objectiveAt(point, { pass: {} });
        objective.loss.backward();
        optimiser.step();
        return objective.perExample.detach();
      });
      // Adam turns the rounding of gradients that are zero in theory into whole steps: 2e-3 after the first.
      close(losses, expected.select(0, k), k === 0 ? 1e-5 : 2e-3, `losses of step ${k}`, {
        rule: "relative",
      });
    }
    const head = (values: Tensor) => values.detach().clone("contiguous").reshape([-1]).slice(0, 0, 64);
    const named = [...system.namedParameters()];
    for (const [i, [own, parameter]] of named.entries())
      for (const [what, values] of [
        ["param", parameter.value],
        ["ema", optimiser.average[i] as Tensor],
      ] as const) {
        const of = `train/${name}/${what}_head64/${official(own)}`;
        if (io.has(of)) close(head(values), io.tensor(of), 0, of, { rule: "relative", absolute: 1e-3 });
      }
  });
});

const samplers = new GoldenFile("daed", "samplers");

class Numbers extends Module {
  readonly numbers: Parameter;
  constructor(count: number) {
    super();
    this.numbers = new Parameter([count], constant(0));
  }
}

describe.each(samplers.matching(/^adamw\/(lr[^/]+)\/params$/))("AdamW, %s", (name) => {
  const [, lr, wd] = /^lr([\d.]+)_wd([\d.]+)$/.exec(name) as RegExpExecArray;
  const [rate] = samplers.matching(new RegExp(`^adamw/${name}/ema_rate([\\d.]+)$`));

  test.each(["float64", "float32"] as const)("%s", (dtype: Dtype) => {
    const start = samplers.tensor("adamw/p0");
    const gradients = samplers.tensor("adamw/grads");
    const module = new Numbers(start.size).initialise(new Streams(0), { dtype: dtype as "float32" });
    module.numbers.set(start.to(dtype));
    const optimiser = new AdamW(module.parameters(), {
      ...{ learningRate: Number(lr), betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: Number(wd) },
      ...{ emaRate: Number(rate), ...steady },
    });
    for (let k = 0; k < gradients.dim(0); k++) {
      module.numbers.value.mul(gradients.select(0, k).to(dtype)).sum().backward();
      optimiser.step();
      const row = (key: string) => samplers.tensor(`adamw/${name}/${key}`).select(0, k);
      const within = { rule: "relative", absolute: 1e-6 } as const;
      close(module.numbers.value.detach().to("float64"), row("params"), 0, `step ${k}`, within);
      close(optimiser.average[0]?.to("float64"), row(`ema_rate${rate}`), 0, `average ${k}`, within);
    }
  });
});
