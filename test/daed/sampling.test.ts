/** Walking back: samplers against each other, against Gaussian data in closed form, and a denoiser in a chain's place. */
import { describe, expect, test } from "vitest";
import {
  ancestralStep,
  chainSamplerNamed,
  chainSamplerNames,
  ddimReverseStep,
  ddimStep,
  GaussianChain,
  linearBetas,
  linearCombineBetas,
  reverseStep,
  sample,
} from "../../src/diffusion/index.js";
import { type ChainDiffusion, DAED } from "../../src/systems/index.js";
import { arange, Generator, noGrad, randn, Streams, scope, type Tensor } from "../../src/torch/index.js";
import { close } from "../golden.js";
import { ddgm, eps, exactNoise, Weighted } from "./networks.js";
import { toy1, toy2 } from "./toys.js";

const float64 = { dtype: "float64" } as const;
const T = 30;
const betas = linearBetas(T);
const chain = new GaussianChain(betas);
const generator = new Generator({ seed: 3 });
const x = randn([T, 1, 4, 4], generator, float64);
const noise = randn(x.shape, generator, float64);
const every = arange(0, T, 1, float64).to("int64");

/** One step from `from` of the given sampler, its noise that of `draw`. */
function stepped(sampler: typeof ddimStep, draw: Tensor, eta = 0): Tensor {
  const out = toy1(x, every.to("float64").reshape([-1, 1, 1, 1]));
  const step = reverseStep(chain, eps("fixed-small"), { out, x, t: every });
  return sampler({ chain, x, t: every, step, eta, noise: () => draw });
}

test("DDIM with eta 1 is ancestral sampling with the posterior's variance", () => {
  close(stepped(ddimStep, noise, 1), stepped(ancestralStep, noise), 0, "x_{t-1}", {
    rule: "relative",
    absolute: 1e-12,
  });
});

test("no sampler adds noise in the last step, and all but DDIM with eta 0 do before", () => {
  for (const [sampler, eta, noisy] of [
    [ancestralStep, 0, "noisy"],
    [ddimStep, 0, "not"],
    [ddimStep, 0.5, "noisy"],
  ] as const) {
    const change = stepped(sampler, noise, eta)
      .sub(stepped(sampler, noise.mul(0), eta))
      .abs()
      .flatten(1)
      .max([1])
      .toArray();
    expect(change[0]).toBe(0);
    for (const each of change.slice(1)) expect(each > 0).toBe(noisy === "noisy");
  }
});

test("DDIM upwards undoes DDIM downwards where the prediction is the same", () => {
  const out = randn(x.shape, generator, float64);
  const t = every.narrow(0, 1, T - 2);
  const of = (all: Tensor) => all.narrow(0, 1, T - 2);
  const down = reverseStep(chain, eps("fixed-small"), { out: of(out), x: of(x), t });
  const lower = ddimStep({ chain, x: of(x), t, step: down, eta: 0, noise: () => of(noise) });
  const up = reverseStep(chain, eps("fixed-small"), { out: of(out), x: lower, t: t.sub(1) });
  close(ddimReverseStep({ chain, x: lower, t: t.sub(1), step: up }), of(x), 0, "x_t", {
    rule: "relative",
    absolute: 1e-10,
  });
});

/** After each of `steps` steps, from the same noise for systems of the same shape. */
function walk(
  system: ChainDiffusion,
  o: { steps: number; sampler: string; eta?: number; seed?: number },
): Tensor[] {
  return noGrad(() =>
    scope(() => {
      const { seed = 11, ...rest } = o;
      const request = { ...rest, count: 1, streams: new Streams(seed), pass: {} };
      let state = system.start(request);
      const all = [state.z];
      for (let i = 0; i < o.steps; i++) {
        state = system.step(state, i);
        all.push(state.z);
      }
      return all;
    }),
  );
}

describe("data ~ N(0, 0.3), and the best prediction", () => {
  const s2 = 0.3;
  const network = new Weighted(exactNoise(chain.tables.alphasCumprod, s2));
  const [side, pixels] = [200, 200 * 200];

  /** v <- (coef1 a_t + coef2)^2 v + sigma_t^2 from 1, with a_t of E[x_0 | x_t] = a_t x_t, and no noise at last. */
  function variances(of: GaussianChain, type: "fixed-small" | "fixed-large"): number[] {
    const at = (key: keyof typeof of.tables, t: number) => of.tables[key][t] as number;
    let v = 1;
    const all = [v];
    for (let t = of.length - 1; t >= 0; t--) {
      const abar = at("alphasCumprod", t);
      const a = (Math.sqrt(abar) * s2) / (abar * s2 + 1 - abar);
      const sigma2 = type === "fixed-large" ? at("betas", t) : at("posteriorVariance", t);
      v = (at("posteriorMeanCoef1", t) * a + at("posteriorMeanCoef2", t)) ** 2 * v + (t === 0 ? 0 : sigma2);
      all.push(v);
    }
    return all;
  }

  /** Within 4.5 standard errors of the variance of a normal distribution, `v sqrt(2 / n)`. */
  function expectVariances(walked: readonly Tensor[], expected: readonly number[]): void {
    expect(walked).toHaveLength(expected.length);
    for (const [i, z] of walked.entries()) {
      const found = z.square().mean().item();
      const v = expected[i] as number;
      expect(Math.abs(found / v - 1), `after ${i} steps`).toBeLessThan(4.5 * Math.sqrt(2 / pixels));
    }
  }

  test.each([
    ["fixed-small", "all"],
    ["fixed-large", "all"],
    ["fixed-small", "8"],
    ["fixed-large", "8"],
  ] as const)("%s variances, %s steps: those of the samples are as the recursion says", (type, spec) => {
    const system = ddgm({ shape: [1, side, side], chain, type: eps(type), network });
    const used = spec === "all" ? chain : chain.respaced(spec);
    expectVariances(walk(system, { steps: used.length, sampler: "ancestral" }), variances(used, type));
  });

  test("DDIM: x_{t-1} = (sqrt(abar_{t-1}) a_t + sqrt(1 - abar_{t-1}) b_t) x_t, without noise", () => {
    const system = ddgm({ shape: [1, side, side], chain, type: eps("fixed-large"), network });
    const walked = walk(system, { steps: T, sampler: "ddim" });
    for (let i = 0; i < T; i++) {
      const t = T - 1 - i;
      const { alphasCumprod, alphasCumprodPrev } = chain.tables;
      const [abar, before] = [alphasCumprod[t], alphasCumprodPrev[t]] as [number, number];
      const marginal = abar * s2 + 1 - abar;
      const a = (Math.sqrt(abar) * s2) / marginal;
      const factor = Math.sqrt(before) * a + Math.sqrt(((1 - before) * (1 - abar)) / marginal ** 2);
      close(walked[i + 1] as Tensor, (walked[i] as Tensor).mul(factor), 1e-9, `t = ${t}`);
    }
  });
});

describe("a denoiser in the place of step 0 alone", () => {
  const shape = [1, 5, 5] as const;
  const settings = { type: eps("fixed-large"), loss: "simple", sampling: "uniform" } as const;
  const daed = (o: Pick<ConstructorParameters<typeof DAED>[0], "split" | "betas">) =>
    new DAED({
      ...{ ...settings, ...o, shape, denoiser: new Weighted(toy1), generator: new Weighted(toy1) },
    }).initialise(new Streams(0), float64);
  const ordinary = ddgm({ shape, chain, type: eps("fixed-large"), network: new Weighted(toy1) });
  const systems = {
    "of the same schedule": daed({ betas }),
    "composed with it": daed({ betas, split: { firstBeta: betas[0] as number, composition: "clean" } }),
  };

  test.each(Object.entries(systems))("%s, with the same network: the chain as it was", (_, system) => {
    expect(system.steps).toBe(T);
    for (const sampler of ["ancestral", "ddim", "ancestral-clipped"]) {
      const expected = walk(ordinary, { steps: T, sampler }).at(-1) as Tensor;
      const found = walk(system, { steps: T, sampler }).at(-1) as Tensor;
      close(found, expected, 0, sampler, { rule: "relative", absolute: 1e-12 });
    }
  });

  test("and skips steps as the chain does", () => {
    const expected = walk(ordinary, { steps: 7, sampler: "ancestral" }).at(-1) as Tensor;
    const found = walk(systems["of the same schedule"], { steps: 7, sampler: "ancestral" }).at(-1) as Tensor;
    close(found, expected, 0, "image", { rule: "relative", absolute: 1e-12 });
  });

  test("its own variance at step 0 changes the image, and what it sees", () => {
    const other = daed({ betas: linearCombineBetas(T, 0.2) });
    const found = walk(other, { steps: T, sampler: "ancestral" });
    const x1 = found.at(-2) as Tensor;
    const image = x1.sub(toy1(x1, x1.mul(0)).mul(Math.sqrt(0.2))).div(Math.sqrt(0.8));
    close(found.at(-1) as Tensor, image, 1e-12, "image");
  });
});

test("through the driver: the same seed, the same bytes, whatever samplers are tried; unknown ones have a suggestion", async () => {
  const system = ddgm({ shape: [1, 4, 4], chain, type: eps("learned-range"), network: new Weighted(toy2) });
  const drawn = async (sampler: string, seed: number, eta?: number) => {
    const request = { count: 2, steps: 6, sampler, streams: new Streams(seed), pass: {} };
    const images = await sample(system, { ...request, ...(eta === undefined ? {} : { eta }) });
    expect([images.dtype, images.shape]).toEqual(["uint8", [2, 1, 4, 4]]);
    return images.toArray();
  };
  for (const sampler of chainSamplerNames) {
    expect(await drawn(sampler, 1)).toEqual(await drawn(sampler, 1));
    expect(await drawn(sampler, 1)).not.toEqual(await drawn(sampler, 2));
  }
  expect(await drawn("ddim", 1, 1)).not.toEqual(await drawn("ddim", 1));
  expect(() => chainSamplerNamed("ddmi")).toThrow(/expected a sampler of a discrete chain, got "ddmi".*ddim/);
});
