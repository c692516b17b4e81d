/** The probability flow and its solver against golden/mulan/{gaussian,ode_sampling}; tolerances of its README. */
import { describe, expect, test } from "vitest";
import { convertPrediction, NoiseLevel } from "../../src/diffusion/index.js";
import {
  type Divergence,
  driftAndDivergence,
  driftFromNoise,
  driftFromVelocity,
  logDensity,
  type ProbabilityFlow,
} from "../../src/diffusion/likelihood/flow.js";
import { fixedEnds } from "../../src/diffusion/schedule/conditional/curve.js";
import { polynomialCurve } from "../../src/diffusion/schedule/conditional/polynomial.js";
import type { Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { diagonalOf, GaussianFlow, gaussianLogDensity } from "../likelihood/gaussian-flow.js";

const ends = { gammaMin: -13.3, gammaMax: 5 };
const largest = { rule: "largest" } as const;

const data = new GoldenFile("mulan", "gaussian");
const row = (key: string) => data.tensor(key).unsqueeze(0);
const curve = polynomialCurve({ a: row("diag_a"), b: row("diag_b"), d: row("diag_d") }, fixedEnds(ends));
const exact = { divergence: { kind: "exact" }, modelDtype: "float64" } as const;

describe("Gaussian data of independent coordinates", () => {
  const mu = data.tensor("diag_mu");
  const std = data.tensor("diag_std");
  const x = data.tensor("diag_x");
  const flow = new GaussianFlow(mu, std.square(), curve);

  test("the closed form: (x - alpha mu) / sqrt V is constant along the flow", () => {
    const [start, end] = [flow.marginal(0), flow.marginal(1)];
    const growth = diagonalOf(end.covariance).div(diagonalOf(start.covariance));
    const x1 = end.mean.add(growth.sqrt().mul(x.sub(start.mean)));
    const delta = growth.log().sum().mul(0.5);
    const prior = gaussianLogDensity(x1, mu.mul(0), diagonalOf(mu.mul(0).add(1)));
    close(x1, data.tensor("diag_x1"), 1e-10, "x1", largest);
    close(delta.reshape([1]), data.tensor("diag_delta_logp"), 1e-10, "delta_logp", largest);
    close(prior.add(delta), data.tensor("diag_logp_std_prior"), 1e-10, "logp_std_prior", largest);
    close(flow.logMarginal(x, 0), data.tensor("diag_logp_exact_marginal"), 1e-10, "marginal", largest);
    close(gaussianLogDensity(x, mu, flow.covariance), data.tensor("diag_logp_data"), 1e-10, "data", largest);
  });

  test("a tight solve", async () => {
    const solved = await logDensity(flow, x, { ...exact, rtol: 1e-9, atol: 1e-9 });
    const delta = data.tensor("diag_delta_logp").expand([x.dim(0)]);
    close(solved.x1, data.tensor("diag_x1"), 1e-7, "x1", largest);
    close(solved.deltaLogDensity, delta, 1e-7, "delta_logp", largest);
    close(solved.logDensity, data.tensor("diag_logp_std_prior"), 1e-7, "logp_std_prior", largest);
  });

  test("SciPy's RK45, step for step", async () => {
    const times: number[] = [];
    const solved = await logDensity(flow, x, {
      ...exact,
      rtol: 1e-5,
      atol: 1e-5,
      onStep: ({ t }) => times.push(t),
    });
    expect(solved.evaluations).toBe(data.number("diag_rk45_nfev"));
    expect(solved.accepted).toBe(data.number("diag_rk45_steps"));
    close(solved.times, data.tensor("diag_rk45_t"), 1e-6, "accepted times");
    close(times, data.tensor("diag_rk45_t").slice(0, 1), 1e-6, "reported times");
    close(solved.x1, data.tensor("diag_rk45_x1"), 1e-6, "x1");
    close(solved.deltaLogDensity, data.tensor("diag_rk45_delta_logp"), 1e-6, "delta_logp");
    close(solved.logDensity, data.tensor("diag_logp_std_prior"), 1e-3, "the log-likelihood", largest);
  });
});

test("correlated Gaussian data under a schedule for each coordinate", async () => {
  const flow = new GaussianFlow(data.tensor("full_mu"), data.tensor("full_cov"), curve);
  const x = data.tensor("full_x");
  const solved = await logDensity(flow, x, { ...exact, rtol: 1e-9, atol: 1e-9 });
  close(solved.x1, data.tensor("full_x1"), 1e-7, "x1", largest);
  close(solved.deltaLogDensity, data.tensor("full_delta_logp"), 1e-7, "delta_logp", largest);
  close(solved.logDensity, data.tensor("full_logp_std_prior"), 1e-7, "logp_std_prior", largest);
  // With the true density of x_1 in place of N(0, I), the flow gives that of x_0.
  const marginal = data.tensor("full_logp_exact_marginal");
  close(flow.logMarginal(x, 0), marginal, 1e-9, "the closed form", largest);
  close(flow.logMarginal(solved.x1, 1).add(solved.deltaLogDensity), marginal, 1e-7, "the ODE's", largest);
});

describe.each(["eps", "v"] as const)("one evaluation, the network's output read as %s", (kind) => {
  const file = new GoldenFile("mulan", "ode_sampling");
  const x = file.tensor("x");
  const coefficients = { a: file.tensor("a"), b: file.tensor("b"), d: file.tensor("d") };
  const { gamma, dGamma } = polynomialCurve(coefficients, fixedEnds(ends)).at(file.tensor("t"));
  const level = new NoiseLevel(gamma);
  const network = (z: Tensor) => z.matmul(file.tensor("model_M")).add(file.tensor("model_c")).tanh();
  const flow: ProbabilityFlow = {
    drift: (z) =>
      kind === "eps"
        ? driftFromNoise(network(z), z, level, dGamma)
        : driftFromVelocity(network(z), level, dGamma),
  };
  const at = (divergence: Divergence) =>
    driftAndDivergence(flow, x, 0, { divergence, modelDtype: "float64" });

  test("the drift, and that of the reverse SDE's coefficients: h = f x - 1/2 g^2 score", () => {
    const score = convertPrediction(network(x), kind, "score", x, level);
    const g2 = level.sigma2.mul(dGamma);
    const fx = g2.mul(-0.5).mul(x);
    close(gamma, file.tensor("gamma"), 1e-9, "gamma", largest);
    close(dGamma, file.tensor("dgamma_dt"), 1e-9, "dgamma_dt", largest);
    close(network(x), file.tensor("model_out"), 1e-9, "model_out", largest);
    close(score, file.tensor(`score_${kind}`), 1e-9, "score", largest);
    close(fx, file.tensor("sde_drift"), 1e-9, "sde_drift", largest);
    close(g2, file.tensor("sde_diffusion_sq"), 1e-9, "sde_diffusion_sq", largest);
    close(g2.sqrt(), file.tensor("sde_diffusion"), 1e-9, "sde_diffusion", largest);
    const { drift } = at({ kind: "exact" });
    close(drift, file.tensor(`drift_${kind}`), 1e-9, "drift", largest);
    close(drift, fx.sub(g2.mul(0.5).mul(score)), 1e-9, "drift from the score", largest);
  });

  test("its divergence, exact and with given probes", () => {
    const trace = at({ kind: "exact" }).divergence;
    close(trace, file.tensor(`div_exact_${kind}`), 1e-9, "exact", largest);
    for (const law of file.matching(/^hutch_(\w+)$/)) {
      const probe = file.tensor(`hutch_${law}`);
      const expected = file.tensor(`div_hutch_${law}_${kind}`);
      close(at({ kind: "hutchinson", probe }).divergence, expected, 1e-9, law, largest);
      close(at({ kind: "hutchinson-fresh", draw: () => probe }).divergence, expected, 1e-9, law, largest);
    }
  });
});
