/** Figure `line-integral`: the continuous diffusion loss as the work along a path through noise levels. */
import { lineChart, panels } from "../plot/index.js";
import type { Illustration, Row } from "./figure.js";

/** A pair of numbers, one a dimension. */
export type Vector = readonly [number, number];
/** Rows of a 2 by 2 matrix. */
export type Matrix = readonly [Vector, Vector];

/** Coefficients of p(t) = a t^2 + b t + d, whose square is the speed of a schedule. */
export type Coefficients = readonly [a: number, b: number, d: number];
/** gamma_1(t) and gamma_2(t). */
export type Path = readonly [Coefficients, Coefficients];

/** A denoiser linear in the latent: `M(gamma)` of xHat = M x_t. */
export type LinearDenoiser = (gamma: Vector) => Matrix;

const ENDS: Vector = [-13.3, 5];

const sigmoid = (u: number) => 1 / (1 + Math.exp(-u));
const alphaOf = (gamma: number) => Math.sqrt(sigmoid(-gamma));
const sigmaOf = (gamma: number) => Math.sqrt(sigmoid(gamma));

function inverse([[a, b], [c, d]]: Matrix): Matrix {
  const determinant = a * d - b * c;
  return [
    [d / determinant, -b / determinant],
    [-c / determinant, a / determinant],
  ];
}

/** xHat = E[x_0 | x_t] for x_0 ~ N(0, covariance): (Sigma^-1 + N)^-1 N x_t / alpha, N = diag(alpha^2 / sigma^2). */
export function posteriorMean(covariance: Matrix): LinearDenoiser {
  const [[p, q], [r, s]] = inverse(covariance);
  return ([gamma1, gamma2]) => {
    const [nu1, nu2] = [Math.exp(-gamma1), Math.exp(-gamma2)];
    const [[a, b], [c, d]] = inverse([
      [p + nu1, q],
      [r, s + nu2],
    ]);
    const [g1, g2] = [nu1 / alphaOf(gamma1), nu2 / alphaOf(gamma2)];
    return [
      [a * g1, b * g2],
      [c * g1, d * g2],
    ];
  };
}

/** The posterior mean for the same noise in both dimensions, at the mean of gamma_1 and gamma_2. */
export function ofMeanGamma(covariance: Matrix): LinearDenoiser {
  const denoiser = posteriorMean(covariance);
  return ([gamma1, gamma2]) => {
    const mean = (gamma1 + gamma2) / 2;
    return denoiser([mean, mean]);
  };
}

/** epsHat = W x_t whatever the noise: xHat = (x_t - sigma W x_t) / alpha. */
export function fixedMatrix([[p, q], [r, s]]: Matrix): LinearDenoiser {
  return ([gamma1, gamma2]) => {
    const [alpha1, alpha2] = [alphaOf(gamma1), alphaOf(gamma2)];
    const [sigma1, sigma2] = [sigmaOf(gamma1), sigmaOf(gamma2)];
    return [
      [(1 - sigma1 * p) / alpha1, (-sigma1 * q) / alpha1],
      [(-sigma2 * r) / alpha2, (1 - sigma2 * s) / alpha2],
    ];
  };
}

/**
 * The force against a path, 1/2 E (eps - epsHat)_i^2 = 1/2 nu_i E (x_0 - xHat)_i^2 in each dimension, for data with
 * the second moments `moments` = E x_0 x_0^T: the loss is the integral of it along gamma (MuLAN, figure 5).
 */
export function forceOf(denoiser: LinearDenoiser, moments: Matrix): (gamma: Vector) => Vector {
  const [[m11, m12], [, m22]] = moments;
  return (gamma) => {
    const M = denoiser(gamma);
    const alpha = gamma.map(alphaOf) as [number, number];
    const sigma = gamma.map(sigmaOf) as [number, number];
    const inDimension = (i: 0 | 1): number => {
      // x_0 - xHat = (1 - M alpha) x_0 - M sigma eps
      const r1 = (i === 0 ? 1 : 0) - M[i][0] * alpha[0];
      const r2 = (i === 1 ? 1 : 0) - M[i][1] * alpha[1];
      const fromData = r1 * r1 * m11 + 2 * r1 * r2 * m12 + r2 * r2 * m22;
      const fromNoise = (M[i][0] * sigma[0]) ** 2 + (M[i][1] * sigma[1]) ** 2;
      return 0.5 * Math.exp(-gamma[i]) * (fromData + fromNoise);
    };
    return [inDimension(0), inDimension(1)];
  };
}

/** gamma and gamma' at t: gamma_min + (gamma_max - gamma_min) F(t) / F(1), F the integral of p^2 from 0. */
function levelAt([a, b, d]: Coefficients, t: number): { readonly gamma: number; readonly speed: number } {
  const F = (u: number) =>
    u * (d * d + u * (b * d + u * ((b * b + 2 * a * d) / 3 + u * ((a * b) / 2 + (u * a * a) / 5))));
  // F(1) by the shifted Legendre polynomials of p: a sum of squares, in which nothing cancels.
  const S = (d + b / 2 + a / 3) ** 2 + (a + b) ** 2 / 12 + (a * a) / 180;
  const range = ENDS[1] - ENDS[0];
  return { gamma: ENDS[0] + (range * F(t)) / S, speed: (range * (a * t * t + b * t + d) ** 2) / S };
}

/** Nodes and weights of the 8-point Gauss-Legendre rule on [-1, 1], those above 0 (Abramowitz and Stegun, 25.4). */
const GAUSS: readonly Vector[] = [
  [0.1834346424956498, 0.362683783378362],
  [0.525532409916329, 0.3137066458778873],
  [0.7966664774136267, 0.2223810344533745],
  [0.9602898564975363, 0.1012285362903763],
];
const INTERVALS = 256;

/** Where a path is at evenly spaced times, and what it has cost until then, in nats. */
export interface Work {
  readonly t: readonly number[];
  readonly gamma: readonly Vector[];
  readonly cost: readonly number[];
  /** The loss: the cost at t = 1. */
  readonly total: number;
}

/** The work along a path: the integral of force . gamma' over t, by 8 points in each of 256 intervals. */
export function workAlong(path: Path, force: (gamma: Vector) => Vector): Work {
  const at = (t: number): { readonly gamma: Vector; readonly power: number } => {
    const [first, second] = [levelAt(path[0], t), levelAt(path[1], t)];
    const gamma: Vector = [first.gamma, second.gamma];
    const [f1, f2] = force(gamma);
    return { gamma, power: f1 * first.speed + f2 * second.speed };
  };
  const half = 0.5 / INTERVALS;
  const t = Array.from({ length: INTERVALS + 1 }, (_, i) => i / INTERVALS);
  let total = 0;
  const cost = [0];
  for (let i = 0; i < INTERVALS; i++) {
    const middle = (2 * i + 1) * half;
    for (const [node, weight] of GAUSS)
      total += weight * half * (at(middle - node * half).power + at(middle + node * half).power);
    cost.push(total);
  }
  return { t, gamma: t.map((time) => at(time).gamma), cost, total };
}

const COVARIANCE: Matrix = [
  [0.25, 0.2],
  [0.2, 0.25],
];
const WRONG_COVARIANCE: Matrix = [
  [0.25, -0.125],
  [-0.125, 0.25],
];
const W: Matrix = [
  [0.9, 0.3],
  [-0.2, 0.7],
];

const LINEAR: Coefficients = [0, 0, 1];
const EARLY: Coefficients = [2, -4, 2.02];
const LATE: Coefficients = [2, 0, 0.05];

const PATHS: readonly { readonly name: string; readonly path: Path }[] = [
  { name: "both linear", path: [LINEAR, LINEAR] },
  { name: "first early", path: [EARLY, LATE] },
  { name: "second early", path: [LATE, EARLY] },
  { name: "same polynomial", path: [EARLY, EARLY] },
];

const DENOISERS: readonly {
  readonly name: string;
  readonly title: string;
  readonly denoiser: LinearDenoiser;
  readonly scale: "linear" | "log";
}[] = [
  { name: "exact", title: "Exact: E[x₀ | xₜ]", denoiser: posteriorMean(COVARIANCE), scale: "linear" },
  {
    name: "wrongCovariance",
    title: "E[x₀ | xₜ] of another Gaussian",
    denoiser: posteriorMean(WRONG_COVARIANCE),
    scale: "linear",
  },
  { name: "fixedMatrix", title: "Fixed matrix: ε̂ = W xₜ", denoiser: fixedMatrix(W), scale: "linear" },
  { name: "meanGamma", title: "Sees only the mean of γ", denoiser: ofMeanGamma(COVARIANCE), scale: "log" },
];

/** The first of evenly spaced points and every `step`-th after it. */
const every = <T>(values: readonly T[], step: number) => values.filter((_, i) => i % step === 0);

/**
 * Draws the force field of four denoisers of a two-dimensional Gaussian with four paths of equal ends, and below each
 * what the paths cost. For a scalar schedule (both linear, same polynomial) the loss is the same for every denoiser.
 * For a multivariate one it is the same where the denoiser is the posterior mean of some Gaussian, right or wrong,
 * since the force then is a gradient; elsewhere it depends on the path.
 */
export const lineIntegral: Illustration = {
  name: "line-integral",
  summary: "the bound as work along a path of noise levels, in two dimensions; needs no run",
  needs: "nothing",
  async draw({ request }) {
    const count = request.times ?? 13;
    const grid = Array.from({ length: count }, (_, i) => ENDS[0] + ((ENDS[1] - ENDS[0]) * (i + 0.5)) / count);
    const size = { width: 400, height: 400 };
    const measured = DENOISERS.map(({ name, title, denoiser, scale }) => {
      const force = forceOf(denoiser, COVARIANCE);
      const works = PATHS.map(({ name: path, path: coefficients }) => ({
        path,
        ...workAlong(coefficients, force),
      }));
      return { name, title, scale, force, works };
    });

    const planes = measured.map(({ title, force, works }) =>
      lineChart({
        ...size,
        title,
        subtitle: "Arrows: ½ E(ε − ε̂)² by dimension; dots: equal times",
        x: { label: "γ₁", domain: ENDS },
        y: { label: "γ₂", domain: ENDS },
        field: { x: grid, y: grid, at: (x, y) => force([x, y]) },
        series: works.map(({ path, gamma }) => {
          // The two paths on the diagonal would hide one another.
          const points = path === "same polynomial" ? every(gamma, 16) : gamma;
          const [x, y] = [points.map(([first]) => first), points.map(([, second]) => second)];
          return { name: path, x, y, mark: points === gamma ? "line" : "points" } as const;
        }),
      }),
    );
    const costs = measured.map(({ scale, works }) => {
      const totals = works.map(({ total }) => total);
      const apart = Math.max(...totals) - Math.min(...totals);
      const depends = apart > 1e-6 * Math.max(...totals);
      return lineChart({
        ...size,
        title: depends ? "The loss depends on the path" : "The loss does not depend on the path",
        subtitle: "Work done until t; at t = 1 it is the diffusion loss",
        x: { label: "t", domain: [0, 1] },
        y: { label: "nats", scale },
        // Paths that mirror one another may cost the same all the way: the second one is dotted.
        series: works.map(({ path, t, cost, total }, index) => ({
          name: `${path}: ${total.toFixed(2)}`,
          x: index < 2 ? t : every(t, 8),
          y: index < 2 ? cost : every(cost, 8),
          mark: index < 2 ? "line" : "points",
        })),
      });
    });

    const rows: Row[] = measured.flatMap(({ name, works }) =>
      works.flatMap(({ path, t, gamma, cost }) =>
        every(t, 2).map((time, i) => {
          const [gamma1 = Number.NaN, gamma2 = Number.NaN] = gamma[2 * i] ?? [];
          return { denoiser: name, path, t: time, gamma1, gamma2, nats: cost[2 * i] ?? Number.NaN };
        }),
      ),
    );
    const losses = Object.fromEntries(
      measured.map(({ name, works }) => [
        name,
        Object.fromEntries(works.map(({ path, total }) => [path, total])),
      ]),
    );
    return {
      kind: "chart",
      chart: panels([...planes, ...costs], { columns: measured.length }),
      rows,
      settings: { gammaMin: ENDS[0], gammaMax: ENDS[1], covariance: COVARIANCE, arrows: count, losses },
    };
  },
};
