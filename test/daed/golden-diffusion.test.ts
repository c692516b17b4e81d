/** Forward process, model distribution, bound terms and losses against golden/daed/diffusion. */
import { describe, test } from "vitest";
import {
  boundTerm,
  type ChainLoss,
  chainLoss,
  type FirstTerm,
  GaussianChain,
  laplacianDistance,
  linearBetas,
  linearCombineBetas,
  type MeanType,
  type ReverseType,
  reverseStep,
  type VarianceType,
} from "../../src/diffusion/index.js";
import type { Dtype, Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("daed", "diffusion");
const T = file.number("T");
const ddgm = new GaussianChain(linearBetas(T));
const daed = new GaussianChain(linearCombineBetas(T, 0.1));
const t = file.tensor("t").to("int64");

const precisions = [
  { suffix: "f64", dtype: "float64", absolute: 1e-12, relative: 1e-12, bits: 1e-11 },
  { suffix: "f32", dtype: "float32", absolute: 1e-6, relative: 1e-6, bits: 1e-5 },
] as const;

function inputs(dtype: Dtype) {
  const as = (key: string) => file.tensor(key).to(dtype);
  return {
    x0: as("x0_uint8").div(127.5).sub(1),
    noise: as("noise"),
    out: as("model_output_2c"),
  };
}

/** Within `tolerance` of the largest magnitude, as the README's `rel` says. */
function within(actual: Tensor, key: string, tolerance: number): void {
  const expected = file.tensor(key);
  const largest = expected.abs().max().item();
  close(actual.to("float64"), expected, 0, key, { rule: "relative", absolute: tolerance * largest });
}

describe.each(precisions)("q, $suffix", ({ suffix, dtype, absolute }) => {
  const { x0, noise } = inputs(dtype);
  const exactly = (actual: Tensor, key: string, tolerance: number = absolute) =>
    close(actual.to("float64"), file.tensor(`q/${key}_${suffix}`), 0, key, {
      rule: "relative",
      absolute: tolerance,
    });

  test("x_t and the posterior", () => {
    const xt = ddgm.diffuse(x0, t, noise);
    exactly(xt, "x_t");
    const posterior = ddgm.posterior(x0, xt, t);
    exactly(posterior.mean, "posterior_mean");
    // Logarithms of up to -9 in float32: their last digit is 1e-6.
    exactly(posterior.logVariance.reshape([-1]), "posterior_log_variance", Math.max(absolute, 1e-12));
    exactly(ddgm.marginal(x0, t).logVariance.reshape([-1]), "q_log_variance");
  });

  test("the prior's divergence, bits/dim", () => {
    const bits = ddgm.prior(x0).div((x0.size / x0.dim(0)) * Math.LN2);
    exactly(bits, "prior_bpd", dtype === "float64" ? 1e-12 : 1e-8);
  });
});

const means: Readonly<Record<string, MeanType>> = { EPSILON: "eps", START_X: "x0", PREVIOUS_X: "previous" };
const varianceOf = (name: string) => name.toLowerCase().replace("_", "-") as VarianceType;

describe.each(file.matching(/^p_mean_variance\/([^/]+)\//))("p(x_{t-1} | x_t), %s", (name) => {
  const [mean, variance, clip] = name.split(".") as [string, string, string];
  const type: ReverseType = { mean: means[mean] as MeanType, variance: varianceOf(variance) };

  test.each(precisions)("$suffix", ({ suffix, dtype, relative }) => {
    const { out } = inputs(dtype);
    const x = file.tensor(`q/x_t_${suffix}`).to(dtype);
    const given = type.variance.startsWith("learned") ? out : out.narrow(1, 0, x.dim(1));
    const correction = clip === "clip1" ? ({ clip: "clip" } as const) : {};
    const step = reverseStep(ddgm, type, { out: given, x, t }, correction);
    const key = (what: string) => `p_mean_variance/${name}/${what}_${suffix}`;
    within(step.mean, key("mean"), relative);
    within(step.xHat, key("pred_xstart"), relative);
    within(step.logVariance.expand([...x.shape]), key("log_variance"), relative);
  });
});

/** What each group of bound terms was computed with. */
const terms: Readonly<
  Record<string, { type: ReverseType; first: FirstTerm; clip?: "clip"; of: "ddgm" | "daed" }>
> = {
  ddgm_fixed_large: { type: eps("fixed-large"), first: "quantised", of: "ddgm" },
  ddgm_learned_range: { type: eps("learned-range"), first: "quantised", of: "ddgm" },
  ddgm_learned_range_clip: { type: eps("learned-range"), first: "quantised", clip: "clip", of: "ddgm" },
  daed_train_vlb: { type: eps("learned-range"), first: "squared-error", of: "daed" },
  daed_nll: { type: eps("learned-range"), first: "quantised-first-beta", clip: "clip", of: "daed" },
  daed_nll_fixed: { type: eps("fixed-large"), first: "quantised-first-beta", clip: "clip", of: "daed" },
};

function eps(variance: VarianceType): ReverseType {
  return { mean: "eps", variance };
}

/** A draw of a chain, with as many channels of output as the variances need. */
function drawOf(chain: GaussianChain, variance: VarianceType, dtype: Dtype) {
  const { x0, noise, out } = inputs(dtype);
  const given = variance.startsWith("learned") ? out : out.narrow(1, 0, x0.dim(1));
  return { x0, noise, t, xt: chain.diffuse(x0, t, noise), out: given };
}

describe.each(file.matching(/^vb_terms_bpd\/([^/]+)\//))("the bound's terms, %s", (name) => {
  const { type, first, clip, of } = terms[name] as (typeof terms)[string];
  const chain = of === "ddgm" ? ddgm : daed;

  test.each(precisions)("$suffix", ({ suffix, dtype, bits }) => {
    const draw = drawOf(chain, type.variance, dtype);
    const measured = boundTerm(chain, type, draw, { first, clip });
    within(measured.bits, `vb_terms_bpd/${name}/output_${suffix}`, bits);
  });
});

const losses: Readonly<Record<string, { loss: ChainLoss; variance: VarianceType }>> = {
  simple: { loss: "simple", variance: "fixed-large" },
  hybrid: { loss: "hybrid", variance: "learned-range" },
  mse_learned: { loss: "simple", variance: "learned-range" },
  vlb: { loss: "vlb", variance: "learned-range" },
  kl: { loss: "kl", variance: "learned-range" },
};

describe.each(file.matching(/^training_losses\/([^/]+)\//))("training losses, %s", (name) => {
  const split = name.startsWith("daed_");
  const { loss, variance } = losses[name.replace("daed_", "")] as (typeof losses)[string];
  const chain = split ? daed : ddgm;
  const first = split ? "squared-error" : "quantised";

  test.each(precisions.filter(({ suffix }) => file.has(`training_losses/${name}/loss_${suffix}`)))(
    "$suffix",
    ({ suffix, dtype, bits }) => {
      const made = chainLoss(chain, eps(variance), drawOf(chain, variance, dtype), { loss, first });
      for (const what of ["loss", "mse", "vb"] as const) {
        const key = `training_losses/${name}/${what}_${suffix}`;
        if (file.has(key)) within(made[what] as Tensor, key, bits);
      }
    },
  );
});

test("the distance of Laplacian pyramids", () => {
  const distance = laplacianDistance(file.tensor("lap/a"), file.tensor("lap/b"));
  close(distance.reshape([1]), file.tensor("lap/loss"), 0, "lap", { rule: "relative", absolute: 1e-6 });
});
