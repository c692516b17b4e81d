/** Gaussian data x ~ N(m, v): the optimal denoiser, and the terms of the bound in closed form (per dimension, in nats). */
import type { Denoiser } from "../../src/diffusion/denoiser.js";
import { convertPrediction, NoiseLevel, type PredictionKind, perImage } from "../../src/diffusion/index.js";
import { constant, Module, Parameter } from "../../src/nn/index.js";
import { Streams, type Tensor } from "../../src/torch/index.js";

/** `E[x | z_t] = m + alpha v / (alpha^2 v + sigma^2) (z_t - alpha m)`, said in any of the four forms; float64. */
export class GaussianDenoiser extends Module implements Denoiser {
  readonly m: Parameter;
  readonly v: Parameter;
  readonly #kind: PredictionKind;

  constructor(m: number, v: number, kind: PredictionKind = "eps") {
    super();
    this.m = new Parameter([1], constant(m));
    this.v = new Parameter([1], constant(v));
    this.#kind = kind;
    this.initialise(new Streams(0), { dtype: "float64" });
  }

  forward(z: Tensor, gamma: Tensor): Tensor {
    const level = new NoiseLevel(perImage(gamma, z.rank), z.dtype);
    const { alpha, alpha2, sigma2 } = level;
    const gain = alpha.mul(this.v.value).div(alpha2.mul(this.v.value).add(sigma2));
    const x = this.m.value.add(gain.mul(z.sub(alpha.mul(this.m.value))));
    return convertPrediction(x, "x", this.#kind, z, level);
  }
}

/** `L_inf = 1/2 ln((1 + v SNR_max) / (1 + v SNR_min))` */
export function continuousLoss(v: number, gamma0: number, gamma1: number): number {
  return 0.5 * (Math.log1p(v * Math.exp(-gamma0)) - Math.log1p(v * Math.exp(-gamma1)));
}

/** `L_T = sum_i 1/2 (SNR(s_i) - SNR(t_i)) v / (1 + v SNR(t_i))`, gamma(t) linear */
export function discreteLoss(v: number, gamma0: number, gamma1: number, T: number): number {
  const snr = (i: number) => Math.exp(-(gamma0 + ((gamma1 - gamma0) * i) / T));
  let sum = 0;
  for (let i = 1; i <= T; i++) sum += (0.5 * (snr(i - 1) - snr(i)) * v) / (1 + v * snr(i));
  return sum;
}

/** `1/2 (alpha_1^2 (v + m^2) + sigma_1^2 - 1 - ln sigma_1^2)` */
export function priorLoss(m: number, v: number, gamma1: number): number {
  const sigma2 = 1 / (1 + Math.exp(-gamma1));
  return 0.5 * ((1 - sigma2) * (v + m * m) + sigma2 - 1 - Math.log(sigma2));
}
