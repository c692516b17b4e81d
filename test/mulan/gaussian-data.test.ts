/** Gaussian data with the optimal denoiser through MuLAN itself: the likelihood of its flow, and its samples. */
import { describe, expect, test } from "vitest";
import { FixedLinear, type PredictionKind, sample } from "../../src/diffusion/index.js";
import { logDensity } from "../../src/diffusion/likelihood/flow.js";
import { MuLAN } from "../../src/systems/mulan.js";
import { VDM } from "../../src/systems/vdm.js";
import { noGrad, Streams, scope, type Tensor, tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { diagonalOf, GaussianFlow } from "../likelihood/gaussian-flow.js";
import { ends, float64, GaussianPoints, polynomialOf } from "./points.js";

const file = new GoldenFile("mulan", "gaussian");
const [mean, std, x0] = ["mu", "std", "x"].map((key) => file.tensor(`diag_${key}`)) as [
  Tensor,
  Tensor,
  Tensor,
];
const data = { mean, covariance: diagonalOf(std.square()) };
const coefficients = {
  a: file.tensor("diag_a"),
  b: file.tensor("diag_b"),
  d: file.tensor("diag_d"),
};
const shape = mean.shape;
const largest = { rule: "largest" } as const;
const exact = { divergence: { kind: "exact" }, modelDtype: "float64" } as const;
const context = { streams: new Streams(1), pass: {}, latent: "mode" } as const;

describe("the flow of independent coordinates, each with a schedule of its own", () => {
  const flowOf = (prediction: PredictionKind) => {
    const denoiser = new GaussianPoints(data, { kind: prediction });
    const schedule = polynomialOf(coefficients);
    const mulan = new MuLAN({ shape, schedule, denoiser, prediction, latentSize: 1, ends });
    return mulan.flow({ pixels: x0 }, context);
  };

  test.each(["eps", "v", "x"] as const)("prediction %s", async (prediction) => {
    const { flow, gamma0 } = flowOf(prediction);
    close(gamma0, [ends.gammaMin], 1e-12, "gamma0");
    const solved = await logDensity(flow, x0, { ...exact, rtol: 1e-7, atol: 1e-7 });
    const delta = file.tensor("diag_delta_logp").expand([x0.dim(0)]);
    close(solved.x1, file.tensor("diag_x1"), 1e-5, "x1", largest);
    close(solved.deltaLogDensity, delta, 1e-5, "delta_logp", largest);
    close(solved.logDensity, file.tensor("diag_logp_std_prior"), 1e-5, "logp", largest);
  });

  test("at the standard tolerances, as many evaluations as the reference took", async () => {
    const solved = await logDensity(flowOf("eps").flow, x0, exact);
    expect(solved.evaluations).toBe(file.number("diag_rk45_nfev"));
    close(solved.times, file.tensor("diag_rk45_t"), 1e-6, "accepted times");
    close(solved.logDensity, file.tensor("diag_logp_std_prior"), 1e-3, "logp", largest);
  });
});

test.each(["eps", "v"] as const)("VDM's flow, prediction %s: the closed form along a line", async (kind) => {
  const schedule = new FixedLinear(ends);
  const denoiser = new GaussianPoints(data, { kind });
  const { flow } = new VDM({ shape, schedule, denoiser, prediction: kind }).flow({ pixels: x0 }, context);
  const solved = await logDensity(flow, x0, { ...exact, rtol: 1e-7, atol: 1e-7 });
  // (x - alpha mu) / sqrt V is constant along the flow; V = alpha^2 s^2 + sigma^2.
  const known = new GaussianFlow(mean, std.square(), schedule);
  const [start, end] = [known.marginal(0), known.marginal(1)];
  const growth = diagonalOf(end.covariance).div(diagonalOf(start.covariance));
  const x1 = end.mean.add(growth.sqrt().mul(x0.sub(start.mean)));
  const squares = x1.square().sum([1]);
  const density = squares
    .add(mean.size * Math.log(2 * Math.PI))
    .div(-2)
    .add(growth.log().sum().div(2));
  close(solved.x1, x1, 1e-5, "x1", largest);
  close(solved.logDensity, density, 1e-5, "logp", largest);
});

describe("samples of two correlated coordinates, each with a schedule of its own", () => {
  const steps = 1000;
  const count = 400;
  const law = {
    mean: tensor([0.3, -0.2], float64),
    covariance: tensor(
      [
        [0.25, 0.15],
        [0.15, 0.2],
      ],
      float64,
    ),
  };
  const schedule = polynomialOf({
    a: tensor([2, 2], float64),
    b: tensor([-4, 0], float64),
    d: tensor([2.02, 0.05], float64),
  });
  const denoiser = new GaussianPoints(law);
  const mulan = new MuLAN({ shape: [2], schedule, denoiser, latentSize: 1, ends });

  test("ancestral sampling in 1000 steps has their mean and covariance", () => {
    const streams = new Streams(2);
    const request = { count, steps, sampler: "ancestral", streams, pass: {} };
    const moments = noGrad(() => {
      let state = scope(() => mulan.start(request));
      for (let i = 0; i < steps; i++) {
        const next = scope(() => mulan.step(state, i));
        for (const tensors of [state.z, state.xHat]) tensors?.dispose();
        state = next;
      }
      const mean = state.z.mean([0]);
      const r = state.z.sub(mean);
      return {
        mean: mean.toArray(),
        covariance: r
          .transpose(0, 1)
          .matmul(r)
          .div(count - 1)
          .toArray(),
      };
    });
    const expected = law.covariance.toArray() as [number, number, number, number];
    const [v1, c, , v2] = expected;
    // Five standard errors of a mean, and of a covariance of normal data; the steps' own error is O(1/T).
    for (const [i, value] of moments.mean.entries())
      expect(Math.abs(value - (law.mean.toArray()[i] ?? 0))).toBeLessThan(
        5 * Math.sqrt((i === 0 ? v1 : v2) / count),
      );
    const errors = [v1 * Math.SQRT2, Math.sqrt(v1 * v2 + c * c), Math.sqrt(v1 * v2 + c * c), v2 * Math.SQRT2];
    for (const [i, value] of moments.covariance.entries())
      expect(Math.abs(value - (expected[i] as number))).toBeLessThan(
        (5 * (errors[i] as number)) / Math.sqrt(count),
      );
  });

  test.each(["ddim", "reverse-sde"])(
    "%s through the driver: whole pixels of the right mean",
    async (sampler) => {
      const request = { count: 400, steps: 60, sampler, streams: new Streams(3), pass: {} };
      const pixels = await sample(mulan, request);
      const columns = scope(() =>
        pixels
          .to("float64")
          .add(0.5)
          .mul(2 / 256)
          .sub(1)
          .mean([0])
          .toArray(),
      );
      pixels.dispose();
      // Data outside (-1, 1), 5 % of it, are clipped to the first and last pixel, which moves the mean a little.
      for (const [i, value] of columns.entries())
        expect(Math.abs(value - (law.mean.toArray()[i] ?? 0))).toBeLessThan(5 * Math.sqrt(0.25 / 400) + 0.02);
    },
  );
});
