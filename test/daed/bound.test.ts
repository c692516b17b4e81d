/** The bound of Gaussian data in closed form, and the Monte-Carlo bound against the sum over all steps. */
import { describe, expect, test } from "vitest";
import {
  bitsPerDim,
  GaussianChain,
  linearBetas,
  linearCombineBetas,
  totalBound,
} from "../../src/diffusion/index.js";
import { type ChainDiffusion, DAED } from "../../src/systems/index.js";
import {
  full,
  Generator,
  noGrad,
  randint,
  randn,
  Streams,
  scope,
  type Tensor,
} from "../../src/torch/index.js";
import { ddgm, eps, exactNoise, Weighted } from "./networks.js";
import { toy2 } from "./toys.js";

const float64 = { dtype: "float64" } as const;

interface Estimate {
  readonly mean: number;
  readonly error: number;
}

function estimate(values: Tensor): Estimate {
  return { mean: values.mean().item(), error: Math.sqrt(values.variance().item() / values.size) };
}

/** Within five standard errors (one run in a million fails by chance), which are small beside what is expected. */
function expectMean({ mean, error }: Estimate, expected: number, what: string): void {
  expect(Math.abs(mean - expected), what).toBeLessThan(5 * error);
  expect(error, what).toBeLessThan(0.03 * Math.max(1, Math.abs(expected)));
}

const T = 30;
const s2 = 0.04; // five deviations inside [-1, 1], where images are kept

describe("one pixel ~ N(0, 0.04), and the best prediction", () => {
  const count = 40_000;
  // Not rounded to levels: pixels are only asked for as (x + 1) 127.5.
  const pixels = randn([count, 1, 1, 1], new Generator({ seed: 5 }), float64)
    .mul(Math.sqrt(s2))
    .add(1)
    .mul(127.5);

  const at = (chain: GaussianChain, key: keyof typeof chain.tables, t: number) =>
    chain.tables[key][t] as number;
  /** Var(x_0 | x_t) */
  const uncertainty = (chain: GaussianChain, t: number) => {
    const abar = at(chain, "alphasCumprod", t);
    return (s2 * (1 - abar)) / (abar * s2 + 1 - abar);
  };
  /** With equal variances, what is left of the divergence: coef1^2 Var(x_0 | x_t) / (2 posterior variance), nats. */
  const termOf = (chain: GaussianChain, t: number) =>
    (at(chain, "posteriorMeanCoef1", t) ** 2 * uncertainty(chain, t)) /
    (2 * at(chain, "posteriorVariance", t));
  const diffusionOf = (chain: GaussianChain) =>
    Array.from({ length: chain.length - 1 }, (_, i) => termOf(chain, i + 1)).reduce(
      (sum, term) => sum + term,
      0,
    );
  const priorOf = (chain: GaussianChain) => {
    const abar = at(chain, "alphasCumprod", chain.length - 1);
    return 0.5 * (-Math.log(1 - abar) - abar + abar * s2);
  };
  /** E -ln(Phi((d + 1/255) / s) - Phi((d - 1/255) / s)) over d ~ N(0, Var(x_0 | x_1)), by the trapezium rule. */
  const reconstructionOf = (chain: GaussianChain, variance: number) => {
    const phi = (z: number) => 0.5 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)));
    const s = Math.sqrt(variance);
    const deviation = Math.sqrt(uncertainty(chain, 0));
    let sum = 0;
    for (let u = -6; u <= 6; u += 0.01) {
      const d = u * deviation;
      const nats = -Math.log(Math.max(phi((d + 1 / 255) / s) - phi((d - 1 / 255) / s), 1e-12));
      sum += (0.01 * nats * Math.exp(-(u ** 2) / 2)) / Math.sqrt(2 * Math.PI);
    }
    return sum;
  };

  const plain = new GaussianChain(linearBetas(T));
  const network = new Weighted(exactNoise(plain.tables.alphasCumprod, s2));
  const system = ddgm({ shape: [1, 1, 1], chain: plain, type: eps("fixed-small"), network });
  const boundOf = (of: ChainDiffusion, steps?: number) =>
    noGrad(() =>
      scope(() =>
        of.bound(
          { pixels },
          { streams: new Streams(8), pass: {}, ...(steps === undefined ? {} : { steps }) },
        ),
      ),
    );

  test.each([T, 10, 2])("DDGM in %i steps", (steps) => {
    const chain = steps === T ? plain : plain.respaced(String(steps));
    const { reconstruction, prior, diffusion } = boundOf(system, steps);
    expectMean(estimate(diffusion), diffusionOf(chain), "diffusion");
    expectMean(estimate(prior), priorOf(chain), "prior");
    const variance = at(chain, "posteriorVariance", 1);
    expectMean(estimate(reconstruction), reconstructionOf(chain, variance), "reconstruction");
  });

  test("as trained where no number of steps is asked for; more steps make a tighter bound", () => {
    const means = [2, 10, undefined].map((steps) => totalBound(boundOf(system, steps)).mean().item());
    expect(means[2]).toBeLessThan(means[1] as number);
    expect(means[1]).toBeLessThan(means[0] as number);
    expect(means[2]).toBe(totalBound(boundOf(system, T)).mean().item());
    // The entropy of the pixel, with bins of 2 / 255: what no bound is below.
    const entropy = 0.5 * Math.log(2 * Math.PI * Math.E * s2) - Math.log(2 / 255);
    expect(means[2]).toBeGreaterThan(entropy);
  });

  test("DAED: step 0 is a normal distribution of the denoiser's variance", () => {
    const betas = linearCombineBetas(T, 0.1);
    const chain = new GaussianChain(betas);
    const exact = new Weighted(exactNoise(chain.tables.alphasCumprod, s2));
    const options = {
      shape: [1, 1, 1],
      type: eps("fixed-small"),
      loss: "simple",
      sampling: "uniform",
    } as const;
    const daed = new DAED({ ...options, betas, denoiser: exact, generator: exact });
    daed.initialise(new Streams(0), float64);
    const { reconstruction, prior, diffusion } = boundOf(daed);
    expectMean(estimate(diffusion), diffusionOf(chain), "diffusion");
    expectMean(estimate(prior), priorOf(chain), "prior");
    expectMean(estimate(reconstruction), reconstructionOf(chain, 0.1), "reconstruction");
  });

  test("at a given time the loss is T - 1 times the term of its step", () => {
    for (const [time, t] of [
      [0, 1],
      [0.5, 15],
      [1, T - 1],
    ] as const) {
      const times = full([count], time, float64);
      const loss = noGrad(() => system.diffusionAt({ pixels }, times, { streams: new Streams(2), pass: {} }));
      expectMean(estimate(loss), (T - 1) * termOf(plain, t), `t = ${t}`);
    }
  });

  test("a training under the bound minimises it: T times a term, weighted, is the bound but for its prior, in bits", () => {
    const trained = new DAED({
      ...{ shape: [1, 1, 1], type: eps("fixed-small"), loss: "kl", sampling: "dae-uniform" },
      ...{ betas: linearBetas(T), denoiser: network, generator: network },
    });
    const points = {
      x0: system.encode(pixels),
      noise: randn(pixels.shape, new Generator({ seed: 6 }), float64),
    };
    // All but step 0, whose training loss is another.
    for (const t of [1, 12, T - 1]) {
      const step = full([count], t, { dtype: "int64" });
      const { perExample } = noGrad(() => trained.objectiveAt({ ...points, t: step }, { pass: {} }));
      expectMean(estimate(perExample), termOf(plain, t) / Math.LN2, `t = ${t}`);
    }
  });
});

describe("images of levels, and a network that is wrong", () => {
  const [count, shape] = [4000, [1, 2, 2]] as const;
  const image = randint(0, 256, [1, ...shape], new Generator({ seed: 9 }), float64);
  const pixels = image.expand([count, ...shape]);
  const chain = new GaussianChain(linearBetas(6));
  const settings = { shape, type: eps("learned-range"), loss: "vlb", sampling: "uniform" } as const;
  const systems = {
    ddgm: ddgm({ shape, chain, type: eps("learned-range"), network: new Weighted(toy2) }),
    daed: new DAED({
      ...{ ...settings, betas: linearCombineBetas(6, 0.1) },
      ...{ denoiser: new Weighted(toy2), generator: new Weighted(toy2) },
    }).initialise(new Streams(0), float64),
  };

  test.each(Object.entries(systems))("%s: the Monte-Carlo bound is the sum over its steps", (_, system) => {
    noGrad(() => {
      const terms = Array.from({ length: 6 }, (_, i) => {
        const t = full([count], i, { dtype: "int64" });
        const noise = randn(pixels.shape, new Generator({ seed: 20 + i }), float64);
        const { bits } = system.stepMeasure(
          system.chain,
          { x0: system.encode(pixels), t, noise },
          { pass: {} },
        );
        return estimate(bits);
      });
      const prior = bitsPerDim(system.chain.prior(system.encode(image)), 4).item();
      const sum = terms.reduce((total, { mean }) => total + mean, prior);
      const drawn = estimate(
        bitsPerDim(totalBound(system.bound({ pixels }, { streams: new Streams(3), pass: {} })), 4),
      );
      const error = Math.hypot(drawn.error, ...terms.map((term) => term.error));
      expect(Math.abs(drawn.mean - sum)).toBeLessThan(5 * error);
      expect(error).toBeLessThan(0.03 * sum);
    });
  });
});
