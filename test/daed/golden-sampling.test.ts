/** Steps back, whole loops, compositions and reconstructions against golden/daed/sampling. */
import { describe, expect, test } from "vitest";
import {
  chainSamplerNamed,
  cosineBetas,
  ddimReverseStep,
  GaussianChain,
  linearBetas,
  linearCombineBetas,
  type ReverseType,
  reverseStep,
  switchIndex,
} from "../../src/diffusion/index.js";
import { meanAbsoluteError } from "../../src/metrics/index.js";
import { DAED, DDGM } from "../../src/systems/index.js";
import { type Dtype, noGrad, Streams, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { Formula, toy1, toy2 } from "./toys.js";

const file = new GoldenFile("daed", "sampling");

const precisions = [
  { suffix: "f64", dtype: "float64", step: 1e-11, loop: 1e-10 },
  { suffix: "f32", dtype: "float32", step: 3e-6, loop: 1e-5 },
] as const;

function exactly(actual: Tensor, key: string, tolerance: number): void {
  close(actual.to("float64"), file.tensor(key), 0, key, { rule: "relative", absolute: tolerance });
}

const eps = (variance: ReverseType["variance"]): ReverseType => ({ mean: "eps", variance });

describe.each(precisions)("one step, $suffix", ({ suffix, dtype, step: tolerance }) => {
  const chain = new GaussianChain(linearBetas(file.number("step/T")));
  const x = file.tensor("step/x_t").to(dtype);
  const noise = file.tensor("step/noise").to(dtype);
  const t = file.tensor("step/t").to("int64");
  const told = t.reshape([-1, 1, 1, 1]).to(dtype);

  test.each(file.matching(/^step\/p_sample\/([^/]+)\//))("ancestral, %s", (name) => {
    const [variance, clip] = name.split(".") as [string, string];
    const type = eps(variance.toLowerCase().replace("_", "-") as ReverseType["variance"]);
    const out = (type.variance === "learned-range" ? toy2 : toy1)(x, told);
    const { step: sampler, clip: correction } = chainSamplerNamed(
      clip === "clip1" ? "ancestral-clipped" : "ancestral",
    );
    const back = reverseStep(chain, type, { out, x, t }, { clip: correction });
    const next = sampler({ chain, x, t, step: back, eta: 0, noise: () => noise });
    exactly(next, `step/p_sample/${name}/sample_${suffix}`, tolerance);
  });

  const ddim = reverseStep(chain, eps("fixed-large"), { out: toy1(x, told), x, t });

  test.each(file.matching(/^step\/ddim_sample\/eta([\d.]+)\//))("ddim, eta %s", (eta) => {
    const { step: sampler } = chainSamplerNamed("ddim");
    const next = sampler({ chain, x, t, step: ddim, eta: Number(eta), noise: () => noise });
    exactly(next, `step/ddim_sample/eta${eta}/sample_${suffix}`, tolerance);
  });

  test("ddim upwards", () => {
    const capped = t.clamp(0, chain.length - 2);
    const told = capped.reshape([-1, 1, 1, 1]).to(dtype);
    const step = reverseStep(chain, eps("fixed-large"), { out: toy1(x, told), x, t: capped });
    exactly(
      ddimReverseStep({ chain, x, t: capped, step }),
      `step/ddim_reverse_sample/sample_${suffix}`,
      tolerance,
    );
  });
});

describe.each(precisions)("a whole chain back, $suffix", ({ suffix, dtype, loop: tolerance }) => {
  const noise = file.tensor("loop/noise").to(dtype);
  const back = (system: DDGM, chain: GaussianChain, sampler: string) =>
    noGrad(() => {
      let x = noise.select(0, 0);
      for (let i = 0; i < chain.length; i++)
        x = system.stepBack(x, {
          chain,
          index: chain.length - 1 - i,
          sampler,
          pass: {},
          noise: () => noise.select(0, 1 + i),
        }).next;
      return x;
    });
  const ddgm = (chain: GaussianChain, type: ReverseType, toy: typeof toy1, timestepScale = 1) =>
    new DDGM({
      ...{ shape: noise.shape.slice(2), chain, type, timestepScale, network: new Formula(toy) },
      ...{ loss: "simple", sampling: "uniform" },
    });

  test("ancestral and DDIM", () => {
    const chain = new GaussianChain(file.numbers("loop/betas"));
    expect(chain.length).toBe(file.number("loop/T"));
    const system = ddgm(chain, eps("fixed-large"), toy1);
    exactly(back(system, chain, "ancestral"), `loop/ancestral_fixed_large/sample_${suffix}`, tolerance);
    exactly(back(system, chain, "ddim"), `loop/ddim_eta0/sample_${suffix}`, tolerance);
  });

  test("twelve steps of a cosine chain of 1000, numbers rescaled", () => {
    const chain = new GaussianChain(cosineBetas(1000));
    const system = ddgm(chain, eps("learned-range"), toy2, 1000 / chain.length);
    const name = "loop/respaced_cosine1000_12_learned_range_rescaled_t";
    exactly(back(system, chain.respaced("12"), "ancestral-clipped"), `${name}/sample_${suffix}`, tolerance);
  });
});

// ---- a generator and a denoiser of their own

const T = file.number("two_model/T");
const firstBeta = file.number("two_model/first_step_beta");
const s2 = file.number("two_model/s2");
const whole = new GaussianChain(linearBetas(T));
const d = Math.sqrt(firstBeta) / ((1 - firstBeta) * s2 + firstBeta);

/** `g_t x + 0.05 sin(3 x)`, `g_t = sqrt(1 - abar_t) / (abar_t s2 + 1 - abar_t)` */
const toyG = (x: Tensor, t: Tensor) => {
  const abar = whole.at("alphasCumprod", t.reshape([-1]).to("int64"), x);
  const g = abar
    .rsub(1)
    .sqrt()
    .div(abar.mul(s2).add(abar.rsub(1)));
  return g.mul(x).add(x.mul(3).sin().mul(0.05));
};
const toyDae = (x: Tensor) => x.mul(d).add(x.mul(2).cos().mul(0.05));

/** A composition that takes its noise from the golden cycle, in the precision that this has. */
class Composed extends DAED {
  readonly #noise: (i: number) => Tensor;
  #drawn = 1;

  constructor(composition: "clean" | "official", noise: (i: number) => Tensor) {
    super({
      ...{ shape: noise(0).shape.slice(1), betas: linearBetas(T), split: { firstBeta, composition } },
      ...{ type: eps("fixed-large"), loss: "simple", sampling: "uniform" },
      ...{ generator: new Formula(toyG), denoiser: new Formula(toyDae) },
    });
    this.#noise = noise;
  }

  protected override noise(): Tensor {
    return this.#noise(this.#drawn++);
  }

  protected override parameterLike(): Tensor {
    return this.#noise(0);
  }
}

/** Noise in a cycle: the prior first, then a draw for each step. */
const cycle = (dtype: Dtype) => {
  const noise = file.tensor("two_model/noise_cycle").to(dtype);
  return (i: number) => noise.select(0, i === 0 ? 0 : 1 + ((i - 1) % 7));
};

describe.each(precisions)("a composition, $suffix", ({ suffix, dtype, loop: tolerance }) => {
  const noise = cycle(dtype);

  test("the step of the split", () => {
    expect(switchIndex(whole.tables, firstBeta)).toBe(file.number("two_model/switch_index"));
  });

  test.each(["clean", "official"] as const)("%s", (composition) => {
    const system = new Composed(composition, noise);
    noGrad(() => {
      const request = {
        ...{ count: noise(0).dim(0), steps: system.samplingSteps, sampler: "ancestral" },
        ...{ streams: new Streams(0), pass: {} },
      };
      let state = { ...system.start(request), z: noise(0) };
      let before = state.z;
      for (let i = 0; i < request.steps; i++) {
        before = state.z;
        state = system.step(state, i);
      }
      exactly(before, `two_model/${composition}/before_dae_${suffix}`, tolerance);
      exactly(state.z, `two_model/${composition}/sample_${suffix}`, tolerance);
    });
  });
});

describe.each(precisions)("reconstructions, $suffix", ({ suffix, dtype, loop: tolerance }) => {
  const noise = cycle(dtype);
  const x0 = file.tensor("reconstruct/x0_uint8").to(dtype).div(127.5).sub(1);
  const shape = x0.shape.slice(1);
  const how = { sampler: "ancestral", pass: {}, noise };
  const check = (image: Tensor, name: string) => {
    exactly(image, `reconstruct/${name}_${suffix}`, tolerance);
    exactly(meanAbsoluteError(image, x0), `reconstruct/${name}_mae_${suffix}`, tolerance);
  };

  test("by the generator's chain", () => {
    const system = new DDGM({
      ...{ shape, chain: whole, type: eps("fixed-large"), network: new Formula(toyG) },
      ...{ loss: "simple", sampling: "uniform" },
    });
    const index = file.number("reconstruct/start_index");
    check(
      noGrad(() => system.reconstruct(x0, { ...how, chain: whole, index })),
      "ddgm",
    );
  });

  test("by the denoiser in one step", () => {
    const system = new DAED({
      ...{ shape, betas: linearCombineBetas(T, firstBeta), denoiser: new Formula(toyDae) },
      ...{ type: eps("fixed-large"), loss: "simple", sampling: "uniform" },
    });
    check(
      noGrad(() => system.reconstruct(x0, { ...how, chain: system.chain, index: 0 })),
      "dae",
    );
  });
});

test("images become bytes, exactly", () => {
  const system = new DDGM({
    ...{ shape: [1, 1, 1], chain: whole, type: eps("fixed-large"), network: new Formula(toy1) },
    ...{ loss: "simple", sampling: "uniform" },
  });
  const bytes = system.decode(file.tensor("to_uint8/x").to("float32"));
  expect(bytes.toArray()).toEqual(file.numbers("to_uint8/y"));
});
