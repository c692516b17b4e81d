/** Exact likelihood and sampling by the probability flow: Gaussian data, divergences, memory. */
import { describe, expect, test } from "vitest";
import { FixedLinear } from "../../src/diffusion/index.js";
import {
  type Divergence,
  driftAndDivergence,
  gaussianProbe,
  logDensity,
  type ProbabilityFlow,
  rademacherProbe,
  solveFlow,
  standardNormalLogDensity,
} from "../../src/diffusion/likelihood/flow.js";
import { Generator, liveTensors, ones, randn, scope, stack, tensor } from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";
import { close } from "../golden.js";
import { GaussianFlow } from "./gaussian-flow.js";

const double = { dtype: "float64" } as const;
const schedule = new FixedLinear({ gammaMin: -13.3, gammaMax: 5 });

// 2 x 1 x 2 images of independent pixels, and points of three correlated coordinates.
const shape = [3, 2, 1, 2];
const mean = tensor([0.1, -0.2, 0.3, 0], double);
const variance = tensor([0.3, 0.2, 0.5, 0.1], double);
const pixels = new GaussianFlow(mean, variance, schedule);
const images: ProbabilityFlow = { drift: (x, t) => pixels.drift(x.flatten(1), t).reshape(x.shape) };
const covariance = [
  [0.5, 0.2, -0.1],
  [0.2, 0.4, 0.15],
  [-0.1, 0.15, 0.3],
];
const points = new GaussianFlow(tensor([0, 0.1, -0.1], double), tensor(covariance, double), schedule);

const x0 = mean.add(randn([3, 4], new Generator({ seed: 1 }), double).mul(variance.sqrt()));
const [atData, atNoise] = [pixels.marginal(0), pixels.marginal(1)];
const growth = variance
  .mul(atNoise.level.alpha2)
  .add(atNoise.level.sigma2)
  .div(variance.mul(atData.level.alpha2).add(atData.level.sigma2));

describe("the log-likelihood of independent Gaussian pixels", () => {
  // (x - alpha mu) / sqrt V is constant along the flow, so that x_1 and int div h = 1/2 sum log(V_1 / V_0) are known.
  const x1 = atNoise.mean.add(growth.sqrt().mul(x0.sub(atData.mean)));
  const delta = growth.log().sum().mul(0.5).item();
  const density = standardNormalLogDensity(x1).add(delta);

  test.each([
    ["Rademacher probe, without variance for a diagonal Jacobian", "hutchinson"],
    ["exact trace", "exact"],
  ] as const)("%s", async (_, kind) => {
    const probe = rademacherProbe(shape, new Generator({ seed: 2 }), double);
    const divergence: Divergence = kind === "exact" ? { kind } : { kind, probe };
    const options = { divergence, rtol: 1e-7, atol: 1e-7, modelDtype: "float64" } as const;
    const solved = await logDensity(images, x0.reshape(shape), options);
    expect(solved.logDensity.dtype).toBe("float64");
    expect(solved.x1.shape).toEqual(shape);
    close(solved.x1.flatten(1), x1, 1e-5, "x1", { rule: "largest" });
    close(solved.deltaLogDensity, [delta, delta, delta], 1e-5, "the integral of the divergence");
    close(solved.logDensity, density, 1e-5, "the log density", { rule: "largest" });
  });

  test("with the defaults: a float32 model, tolerances of 1e-5", async () => {
    const dtypes = new Set<string>();
    const model: ProbabilityFlow = {
      drift(x, t) {
        dtypes.add(x.dtype);
        return images.drift(x, t);
      },
    };
    const probe = rademacherProbe(shape, new Generator({ seed: 2 }));
    const start = x0.reshape(shape).to("float32");
    const solved = await logDensity(model, start, { divergence: { kind: "hutchinson", probe } });
    expect([...dtypes]).toEqual(["float32"]);
    close(solved.logDensity, density, 1e-3, "the log density", { rule: "largest" });
  });

  test("a round trip, 0 to 1 to 0", async () => {
    const there = await logDensity(pixels, x0, { divergence: { kind: "exact" }, modelDtype: "float64" });
    const back = await solveFlow(pixels, there.x1, { modelDtype: "float64" });
    close(back.x0, x0, 1e-3, "x0", { rule: "largest" });
    const tight = { rtol: 1e-8, atol: 1e-8, modelDtype: "float64" } as const;
    const sample = await solveFlow(pixels, x1, tight);
    close(sample.x0, x0, 1e-6, "x0 of the known x1", { rule: "largest" });
    expect(sample.evaluations).toBe(2 + 6 * (sample.accepted + sample.rejected));
    expect([sample.times[0], sample.times.at(-1)]).toEqual([1, 0]);
  });

  test("the true density of x_1 in place of N(0, I) gives that of x_0, also where coordinates are correlated", async () => {
    const start = randn([2, 3], new Generator({ seed: 3 }), double);
    const options = { divergence: { kind: "exact" }, rtol: 1e-7, atol: 1e-7, modelDtype: "float64" } as const;
    const { x1, deltaLogDensity } = await logDensity(points, start, options);
    const density = points.logMarginal(x1, 1).add(deltaLogDensity);
    close(density, points.logMarginal(start, 0), 1e-5, "log density", { rule: "largest" });
  });
});

describe("the divergence at a point", () => {
  const t = 0.4;
  // A flow that is not linear, with a full Jacobian: h_i = sin(sum_j W_ij x_j), whose trace is sum_i W_ii cos(...).
  const weights = tensor(covariance, double);
  const sine: ProbabilityFlow = { drift: (x) => x.matmul(weights.to(x.dtype)).sin() };
  const x = randn([2, 3], new Generator({ seed: 4 }), double);
  const trace = x
    .matmul(weights)
    .cos()
    .mul(tensor([0.5, 0.4, 0.3], double))
    .sum([1]);
  const at = (divergence: Divergence) =>
    driftAndDivergence(sine, x, t, { divergence, modelDtype: "float64" }).divergence;

  test("exact, in float64 and in the default float32", () => {
    close(at({ kind: "exact" }), trace, 1e-12, "trace");
    const single = driftAndDivergence(sine, x, t, { divergence: { kind: "exact" } });
    expect(single.drift.dtype).toBe("float32");
    expect(single.divergence.dtype).toBe("float64");
    close(single.divergence, trace, 1e-5, "trace in float32", { rule: "largest" });
  });

  test("the mean over all probes of signs is the trace", () => {
    const signs = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => [i & 1, i & 2, i & 4].map((bit) => (bit ? 1 : -1)));
    const estimates = signs.map((row) => at({ kind: "hutchinson", probe: tensor([row, row], double) }));
    close(stack(estimates).mean([0]), trace, 1e-12, "trace");
    expect(new Set(estimates.map((estimate) => estimate.toArray()[0]?.toFixed(9))).size).toBeGreaterThan(1);
  });

  test.each([
    ["rademacher", rademacherProbe],
    ["gaussian", gaussianProbe],
  ] as const)("the mean over %s probes tends to the trace", (_, draw) => {
    const copies = 20_000;
    const many = x.narrow(0, 0, 1).expand([copies, 3]);
    const probe = draw([copies, 3], new Generator({ seed: 5 }), double);
    const divergence = { kind: "hutchinson", probe } as const;
    const estimates = driftAndDivergence(sine, many, t, { divergence, modelDtype: "float64" }).divergence;
    const standardError = Math.sqrt(estimates.variance().item() / copies);
    // Five standard errors, and those small: 2 sum J_ij^2 < 2 bounds the variance.
    expect(standardError).toBeLessThan(Math.sqrt(2 / copies));
    expect(Math.abs(estimates.mean().sub(trace.select(0, 0)).item())).toBeLessThan(5 * standardError);
  });

  test("a drift that does not depend on x has none", () => {
    const wind: ProbabilityFlow = { drift: (z) => z.detach().mul(0).add(2) };
    for (const divergence of [{ kind: "exact" }, { kind: "hutchinson", probe: ones([2, 3]) }] as const) {
      const found = driftAndDivergence(wind, x, t, { divergence });
      expect(found.divergence.toArray()).toEqual([0, 0]);
      expect(found.drift.toArray()).toEqual([2, 2, 2, 2, 2, 2]);
    }
  });

  test("a fresh probe is drawn at every evaluation", async () => {
    const generator = new Generator({ seed: 6 });
    let draws = 0;
    const draw = () => {
      draws++;
      return rademacherProbe([2, 3], generator, double);
    };
    const divergence = { kind: "hutchinson-fresh", draw } as const;
    const solved = await logDensity(sine, x, { divergence, rtol: 1e-2, atol: 1e-2 });
    expect(draws).toBe(solved.evaluations);
  });
});

test("probes: signs, repeated by a seed", () => {
  const probe = rademacherProbe([1000], new Generator({ seed: 7 }));
  expect(probe.dtype).toBe("float32");
  expect([...new Set(probe.toArray())].sort()).toEqual([-1, 1]);
  expect(Math.abs(probe.sum().item())).toBeLessThan(5 * Math.sqrt(1000));
  expect(rademacherProbe([1000], new Generator({ seed: 7 })).toArray()).toEqual(probe.toArray());
  expect(gaussianProbe([2, 2], new Generator({ seed: 7 }), double).dtype).toBe("float64");
});

test("log N(0; 0, I) of two images of three numbers", () => {
  const density = standardNormalLogDensity(
    tensor(
      [
        [0, 0, 0],
        [1, 2, 2],
      ],
      double,
    ),
  );
  const constant = -1.5 * Math.log(2 * Math.PI);
  close(density, [constant, constant - 4.5], 1e-14, "log density");
});

test("a solve leaves nothing but its results, and its arguments as they were", async () => {
  const start = x0.reshape(shape).to("float32");
  const probe = rademacherProbe(shape, new Generator({ seed: 8 }));
  const solveOnce = async () => {
    const solved = await logDensity(images, start, { divergence: { kind: "hutchinson", probe } });
    for (const tensor of [solved.logDensity, solved.x1, solved.deltaLogDensity]) tensor.dispose();
    const sample = await solveFlow(images, start);
    sample.x0.dispose();
  };
  collectGarbage();
  const before = liveTensors();
  await solveOnce();
  expect(liveTensors()).toBeLessThanOrEqual(before);
  close(
    start,
    scope(() => x0.reshape(shape).to("float32")),
    0,
    "start",
  );
});

test("a signal ends a solve", async () => {
  const signal = AbortSignal.abort(new Error("enough"));
  const divergence = { kind: "exact" } as const;
  await expect(logDensity(pixels, x0, { divergence, signal })).rejects.toThrow("enough");
  await expect(solveFlow(pixels, x0, { signal })).rejects.toThrow("enough");
});
