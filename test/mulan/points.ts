/** Gaussian points for MuLAN's tests: their optimal denoiser, schedules of known coefficients, exact expectations. */
import type { Denoiser } from "../../src/diffusion/denoiser.js";
import {
  convertPrediction,
  NoiseLevel,
  type PolynomialCoefficients,
  type PredictionKind,
} from "../../src/diffusion/index.js";
import { PolynomialSchedule } from "../../src/diffusion/schedule/conditional/index.js";
import { Module, Parameter, zero } from "../../src/nn/index.js";
import type { GaussianDiffusion } from "../../src/systems/index.js";
import { cat, noGrad, operator, type Tensor, tensor, zeros } from "../../src/torch/index.js";

export const float64 = { dtype: "float64" } as const;
export const ends = { gammaMin: -13.3, gammaMax: 5 };

const inverse = operator("aten::inverse");
const diagonal = operator("aten::diag_embed");

/**
 * `E[x | x_t] = mu + (Sigma^-1 + N)^-1 alpha (x_t - alpha mu) / sigma^2`, `N = diag SNR`, of x ~ N(mu, Sigma), in any
 * form. Told to see the `mean` of gamma alone, it takes alpha, sigma and N from that.
 */
export class GaussianPoints extends Module implements Denoiser {
  readonly mean: Parameter;
  readonly covariance: Parameter;
  readonly #kind: PredictionKind;
  readonly #sees: "each" | "mean";

  constructor(
    data: { readonly mean: Tensor; readonly covariance: Tensor },
    options: { readonly kind?: PredictionKind; readonly sees?: "each" | "mean" } = {},
  ) {
    super();
    this.mean = new Parameter(data.mean.shape, zero);
    this.covariance = new Parameter(data.covariance.shape, zero);
    this.load(new Map(Object.entries(data)));
    this.#kind = options.kind ?? "eps";
    this.#sees = options.sees ?? "each";
  }

  forward(z: Tensor, gamma: Tensor): Tensor {
    const each = (gamma.rank === 1 ? gamma.unsqueeze(1) : gamma).expand(z.shape);
    const seen = new NoiseLevel(
      this.#sees === "mean" ? each.mean([1], { keepDims: true }).expand(z.shape) : each,
    );
    const precision = inverse(this.covariance.value).add(diagonal(seen.snr, 0, -2, -1));
    const mean = this.mean.value;
    const { alpha, sigma2 } = seen;
    const pull = alpha.div(sigma2).mul(z.sub(alpha.mul(mean)));
    const x = mean.add(inverse(precision).matmul(pull.unsqueeze(2)).squeeze(2));
    return convertPrediction(x, "x", this.#kind, z, new NoiseLevel(each));
  }
}

/** `eps_hat = W x_t` whatever the level: the posterior mean of no distribution where W is not diagonal. */
export class FixedMatrix extends Module implements Denoiser {
  readonly w: Parameter;

  constructor(w: Tensor) {
    super();
    this.w = new Parameter(w.shape, zero);
    this.load(new Map([["w", w]]));
  }

  forward(z: Tensor): Tensor {
    return z.matmul(this.w.value.transpose(0, 1));
  }
}

/** MuLAN's polynomial with coefficients `[D]` that do not depend on z: they are the biases of the heads. */
export function polynomialOf(
  { a, b, d }: PolynomialCoefficients,
  options: { readonly pixels?: "each" | "mean"; readonly latentSize?: number } = {},
): PolynomialSchedule {
  const dimensions = a.size;
  const schedule = new PolynomialSchedule({ ...ends, latentSize: 1, ...options, dimensions, hidden: 1 });
  const raw = d.sub(1e-3).expm1().log(); // d = 1/1000 + softplus(raw)
  const biases = new Map(Object.entries({ "a.bias": a, "b.bias": b, "d.bias": raw }));
  return schedule.load(
    new Map(
      Array.from(schedule.namedParameters(), ([name, { shape }]) => [
        name,
        biases.get(name)?.reshape(shape) ?? zeros(shape, float64),
      ]),
    ),
  );
}

/** Points and weights of a rule on [0, 1] or over a normal law. */
export interface Rule {
  readonly points: Tensor;
  readonly weights: Tensor;
}

/** Gauss and Legendre's rule of five points in each of `intervals` parts of [0, 1]. */
export function quadrature(intervals: number): Rule {
  const inner = Math.sqrt(5 - 2 * Math.sqrt(10 / 7)) / 3;
  const outer = Math.sqrt(5 + 2 * Math.sqrt(10 / 7)) / 3;
  const [near, far] = [(322 + 13 * Math.sqrt(70)) / 900, (322 - 13 * Math.sqrt(70)) / 900];
  const rule = [
    [-outer, far],
    [-inner, near],
    [0, 128 / 225],
    [inner, near],
    [outer, far],
  ] as const;
  const half = 0.5 / intervals;
  const places = Array.from({ length: intervals }, (_, i) => (2 * i + 1) * half);
  const points = places.flatMap((middle) => rule.map(([node]) => middle + half * node));
  const weights = places.flatMap(() => rule.map(([, weight]) => half * weight));
  return { points: tensor(points, float64), weights: tensor(weights, float64) };
}

/** The middles of the T steps of a chain: the mean over them is the whole sum. */
export function everyStep(T: number): Rule {
  const points = Array.from({ length: T }, (_, i) => (i + 0.5) / T);
  return { points: tensor(points, float64), weights: tensor(Array<number>(T).fill(1 / T), float64) };
}

/** `2 n` points `+-sqrt(n) e_i` `[2 n, n]`: standard normal means of quadratics are means over them. */
function normalPoints(n: number): Tensor {
  const points = Array.from({ length: 2 * n }, (_, i) =>
    Array.from({ length: n }, (_, j) => (i >> 1 === j ? (i % 2 === 0 ? 1 : -1) * Math.sqrt(n) : 0)),
  );
  return tensor(points, float64);
}

/** Points x0 = mean + factor u of standard normal u. */
export interface Law {
  readonly mean: Tensor;
  /** `[D, n]`; the point `mean` alone where absent. */
  readonly factor?: Tensor;
}

/**
 * The diffusion term in nats, its mean taken over x0 and eps exactly, for denoisers that are linear in x_t, and over t
 * by `times`. `steps`: T of the bound.
 */
export function expectedDiffusion(
  system: GaussianDiffusion,
  { mean, factor }: Law,
  times: Rule,
  options: { readonly steps?: number } = {},
): number {
  return noGrad(() => {
    const D = mean.size;
    const n = factor ? factor.dim(1) : 0;
    const draws = normalPoints(D + n);
    const count = draws.dim(0);
    const eps = draws.narrow(1, 0, D);
    const x0 = (factor ? draws.narrow(1, D, n).matmul(factor.transpose(0, 1)) : eps.mul(0)).add(mean);
    const rows = times.points.size;
    const tiled = (values: Tensor) => cat(Array.from({ length: rows }, () => values));
    const t = times.points.unsqueeze(1).expand([rows, count]).reshape([-1]);
    const x = x0
      .add(1)
      .mul(system.levels / 2)
      .sub(0.5);
    const { bound } = system.evaluate(
      tiled(x),
      { t, eps: tiled(eps), eps0: tiled(eps.mul(0)) },
      { pass: {}, ...options },
    );
    return bound.diffusion.reshape([rows, count]).mean([1]).mul(times.weights).sum().item();
  });
}
