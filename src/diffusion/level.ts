/** A noise level and the step between two of them, in forms that keep their digits. */
import type { Dtype, Shape, Tensor } from "../torch/index.js";

/**
 * The variance-preserving noise level of gamma: scalar per example `[B, 1, 1, 1]` or per pixel `[B, C, H, W]`.
 * Everything is computed in gamma's own dtype (float64 for a scalar schedule, where differences of close levels matter)
 * and given out in `dtype`, that of the images it multiplies.
 */
export class NoiseLevel {
  readonly gamma: Tensor;
  readonly dtype: Dtype;

  constructor(gamma: Tensor, dtype: Dtype = gamma.dtype) {
    this.gamma = gamma;
    this.dtype = dtype;
  }

  /** `alpha^2 = sigmoid(-gamma)` (VDM, eq. 4); never `1 - sigmoid(gamma)`, which loses its digits at the clean end. */
  get alpha2(): Tensor {
    return this.gamma.neg().sigmoid().to(this.dtype);
  }
  /** `sigma^2 = sigmoid(gamma)` (VDM, eq. 3) */
  get sigma2(): Tensor {
    return this.gamma.sigmoid().to(this.dtype);
  }
  /** `alpha = sqrt(sigmoid(-gamma))` */
  get alpha(): Tensor {
    return this.gamma.neg().sigmoid().sqrt().to(this.dtype);
  }
  /** `sigma = sqrt(sigmoid(gamma))` */
  get sigma(): Tensor {
    return this.gamma.sigmoid().sqrt().to(this.dtype);
  }
  /** `SNR = alpha^2 / sigma^2 = exp(-gamma)` */
  get snr(): Tensor {
    return this.gamma.neg().exp().to(this.dtype);
  }

  /** `z_t = alpha x + sigma eps` */
  diffuse(x: Tensor, eps: Tensor): Tensor {
    return this.alpha.mul(x).add(this.sigma.mul(eps));
  }
}

/** Per-example values `[B]` (or `[1]`) shaped to broadcast over images `[B, C, H, W]`. */
export function perImage(values: Tensor, rank = 4): Tensor {
  return values.reshape([-1, ...new Array<number>(rank - 1).fill(1)]);
}

/**
 * Values of every pixel, in the order of a flat channels-last image, as images `[B, C, H, W]`: from `[B, D]` with index
 * `(h W + w) C + c`, or, where all pixels share one, from `[B]` or `[B, 1]` to a shape that broadcasts. `shape` is that of
 * one image, `[C, H, W]`, or of one point, `[D]`.
 */
export function perPixel(values: Tensor, shape: Shape): Tensor {
  if (values.rank === 1 || values.dim(1) === 1) return perImage(values, shape.length + 1);
  if (shape.length !== 3) return values;
  const [channels, height, width] = shape as [number, number, number];
  return values.reshape([-1, height, width, channels]).permute([0, 3, 1, 2]);
}

/** From a clean level s to a noisier t: q(z_t | z_s), q(z_s | z_t, x) and the weights of the loss (VDM, eq. 20-33). */
export class Transition {
  readonly #gammaS: Tensor;
  readonly #gammaT: Tensor;
  readonly #dtype: Dtype;

  constructor(s: NoiseLevel, t: NoiseLevel) {
    this.#gammaS = s.gamma;
    this.#gammaT = t.gamma;
    this.#dtype = t.dtype;
  }

  #c(): Tensor {
    return this.#gammaS.sub(this.#gammaT).expm1().neg();
  }
  // alpha_t / alpha_s, through differences of softplus: close levels cancel nothing.
  #ratio(): Tensor {
    return this.#gammaS.softplus().sub(this.#gammaT.softplus()).div(2).exp();
  }

  /** `c = 1 - SNR(t)/SNR(s) = -expm1(gamma_s - gamma_t)` in (0, 1) */
  get c(): Tensor {
    return this.#c().to(this.#dtype);
  }
  /** `SNR(s)/SNR(t) - 1 = expm1(gamma_t - gamma_s)`: twice the weight of the eps loss in one step */
  get snrRatioMinusOne(): Tensor {
    return this.#gammaT.sub(this.#gammaS).expm1().to(this.#dtype);
  }
  /** `alpha_{t|s} = alpha_t / alpha_s` */
  get alphaRatio(): Tensor {
    return this.#ratio().to(this.#dtype);
  }
  /** `sigma^2_{t|s} = sigma_t^2 c`, the variance of q(z_t | z_s) */
  get variance(): Tensor {
    return this.#gammaT.sigmoid().mul(this.#c()).to(this.#dtype);
  }
  /** `sigma_Q^2 = sigma_s^2 c`, the variance of q(z_s | z_t, x) and of p(z_s | z_t) */
  get posteriorVariance(): Tensor {
    return this.#gammaS.sigmoid().mul(this.#c()).to(this.#dtype);
  }
  /** `ln sigma_Q^2` in gamma's own dtype: ratios of two variances are taken through it. */
  get logPosteriorVariance(): Tensor {
    return this.#gammaS.neg().softplus().neg().add(this.#c().log());
  }
  /** The coefficients of `mu_Q = z z_t + x x` (VDM, eq. 24): `(alpha_s / alpha_t)(1 - c)`, `alpha_s c` */
  get posteriorMean(): { readonly z: Tensor; readonly x: Tensor } {
    const z = this.#gammaS.sub(this.#gammaT).exp().div(this.#ratio()); // 1 - c = exp(gamma_s - gamma_t)
    const x = this.#gammaS.neg().sigmoid().sqrt().mul(this.#c());
    return { z: z.to(this.#dtype), x: x.to(this.#dtype) };
  }
  /** The same mean from a prediction of the noise: `(alpha_s / alpha_t) (z_t - sigma_t c eps)` (VDM, eq. 33) */
  get posteriorMeanFromNoise(): { readonly z: Tensor; readonly eps: Tensor } {
    const z = this.#ratio().reciprocal();
    const eps = z.mul(this.#gammaT.sigmoid().sqrt()).mul(this.#c()).neg();
    return { z: z.to(this.#dtype), eps: eps.to(this.#dtype) };
  }
}
