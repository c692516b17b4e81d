/** The full bound over a short chain against golden/daed/bpd. */
import { describe, test } from "vitest";
import type { FirstTerm } from "../../src/diffusion/index.js";
import { GaussianChain, type ReverseType } from "../../src/diffusion/index.js";
import { DAED, DDGM } from "../../src/systems/index.js";
import { full, noGrad, stack, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { Formula, toy1, toy2 } from "./toys.js";

const file = new GoldenFile("daed", "bpd");
const betas = file.numbers("betas");
const T = betas.length;

const cases: Readonly<Record<string, { type: ReverseType; first: FirstTerm; toy: typeof toy1 }>> = {
  fixed_large: { type: { mean: "eps", variance: "fixed-large" }, first: "quantised", toy: toy1 },
  learned_range: { type: { mean: "eps", variance: "learned-range" }, first: "quantised", toy: toy2 },
  daed_nll: { type: { mean: "eps", variance: "learned-range" }, first: "quantised-first-beta", toy: toy2 },
};

const precisions = [
  { suffix: "f64", dtype: "float64", tolerance: 1e-10 },
  { suffix: "f32", dtype: "float32", tolerance: 2e-5 },
] as const;

describe.each(file.matching(/^(\w+)\/total_bpd_f64$/))("%s", (name) => {
  const { type, first, toy } = cases[name] as (typeof cases)[string];

  test.each(precisions)("$suffix", ({ suffix, dtype, tolerance }) => {
    noGrad(() => {
      const x0 = file.tensor("x0_uint8").to(dtype).div(127.5).sub(1);
      const noise = file.tensor("noise").to(dtype);
      const shape = x0.shape.slice(1);
      const network = new Formula(toy);
      const options = { shape, type, loss: "vlb", sampling: "uniform" } as const;
      const system =
        first === "quantised"
          ? new DDGM({ ...options, chain: new GaussianChain(betas), network })
          : new DAED({ ...options, betas, denoiser: network, generator: network });
      const measured = Array.from({ length: T }, (_, i) => {
        const t = full([x0.dim(0)], T - 1 - i, { dtype: "int64" });
        return system.stepMeasure(system.chain, { x0, t, noise: noise.select(0, i) }, { pass: {} });
      });
      const prior = system.chain.prior(x0).div(system.dimensions * Math.LN2);
      const columns = (of: (each: (typeof measured)[number]) => Tensor) => stack(measured.map(of), 1);
      const vb = columns(({ bits }) => bits);
      const all = {
        vb,
        mse: columns(({ noiseError }) => noiseError),
        xstart_mse: columns(({ imageError }) => imageError),
        prior_bpd: prior,
        total_bpd: vb.sum([1]).add(prior),
      };
      for (const [what, values] of Object.entries(all)) {
        const expected = file.tensor(`${name}/${what}_${suffix}`);
        const largest = expected.abs().max().item();
        close(values, expected, 0, what, { rule: "relative", absolute: tolerance * largest });
      }
    });
  });
});
