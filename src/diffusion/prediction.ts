/** What a network predicts, and how each form becomes another (VDM, eq. 10 and 28-30; v: section 6 of the notes). */
import type { Tensor } from "../torch/index.js";
import type { NoiseLevel } from "./level.js";

/** What a network can predict: see `PredictionKind`. */
export const predictionKinds = ["x", "eps", "v", "score"] as const;
/**
 * Of `z_t = alpha x + sigma eps`: clean data `x`, noise `eps`, velocity `v = alpha eps - sigma x`, or the score of q(z_t | x),
 * `score = -eps / sigma`; each `[B, C, H, W]` like z_t.
 */
export type PredictionKind = (typeof predictionKinds)[number];

type Convert = (out: Tensor, z: Tensor, at: NoiseLevel) => Tensor;

const same: Convert = (out) => out;

/** conversions[from][to]; z is the noisy latent at the level. Dividing by alpha is ill-conditioned near t = 1, by sigma near 0. */
const conversions: Record<PredictionKind, Record<PredictionKind, Convert>> = {
  x: {
    x: same,
    eps: (x, z, { alpha, sigma }) => z.sub(alpha.mul(x)).div(sigma),
    v: (x, z, { alpha, sigma }) => alpha.mul(z).sub(x).div(sigma),
    score: (x, z, { alpha, sigma2 }) => alpha.mul(x).sub(z).div(sigma2),
  },
  eps: {
    x: (eps, z, { alpha, sigma }) => z.sub(sigma.mul(eps)).div(alpha),
    eps: same,
    v: (eps, z, { alpha, sigma }) => eps.sub(sigma.mul(z)).div(alpha),
    score: (eps, _z, { sigma }) => eps.neg().div(sigma),
  },
  v: {
    x: (v, z, { alpha, sigma }) => alpha.mul(z).sub(sigma.mul(v)),
    eps: (v, z, { alpha, sigma }) => sigma.mul(z).add(alpha.mul(v)),
    v: same,
    score: (v, z, { alpha, sigma }) => z.add(alpha.div(sigma).mul(v)).neg(),
  },
  score: {
    x: (s, z, { alpha, sigma2 }) => z.add(sigma2.mul(s)).div(alpha),
    eps: (s, _z, { sigma }) => s.mul(sigma).neg(),
    v: (s, z, { alpha, sigma }) => z.add(s).mul(sigma).neg().div(alpha),
    score: same,
  },
};

/** A network's output of one kind as another. */
export function convertPrediction(
  out: Tensor,
  from: PredictionKind,
  to: PredictionKind,
  z: Tensor,
  at: NoiseLevel,
): Tensor {
  return conversions[from][to](out, z, at);
}

/** What the network should have said: x, eps, `alpha eps - sigma x` or `-eps / sigma`. */
export function predictionTarget(kind: PredictionKind, x: Tensor, eps: Tensor, at: NoiseLevel): Tensor {
  switch (kind) {
    case "x":
      return x;
    case "eps":
      return eps;
    case "v":
      return at.alpha.mul(eps).sub(at.sigma.mul(x));
    case "score":
      return eps.neg().div(at.sigma);
    default:
      return kind satisfies never;
  }
}

/** The error of a prediction, target minus output, as one of the noise: `eps - eps_hat`. */
export function noiseError(kind: PredictionKind, error: Tensor, at: NoiseLevel): Tensor {
  switch (kind) {
    case "x":
      return at.alpha.div(at.sigma).mul(error).neg();
    case "eps":
      return error;
    case "v":
      return at.alpha.mul(error);
    case "score":
      return at.sigma.mul(error).neg();
    default:
      return kind satisfies never;
  }
}

/**
 * Factor that turns the squared error of one kind into that of eps:
 * `||eps - eps_hat||^2 = SNR ||x - x_hat||^2 = alpha^2 ||v - v_hat||^2 = sigma^2 ||s - s_hat||^2`.
 */
export function errorWeight(kind: PredictionKind, at: NoiseLevel): Tensor | number {
  switch (kind) {
    case "x":
      return at.snr;
    case "eps":
      return 1;
    case "v":
      return at.alpha2;
    case "score":
      return at.sigma2;
    default:
      return kind satisfies never;
  }
}
