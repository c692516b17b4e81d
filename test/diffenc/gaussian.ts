/** Gaussian data x ~ N(m, v) encoded as x_t = a x: the encodings, and the denoisers that are best for them. */
import type { Denoiser } from "../../src/diffusion/denoiser.js";
import type { DataEncoder } from "../../src/diffusion/encoder.js";
import {
  convertPrediction,
  type Encoding,
  Identity,
  NoiseLevel,
  NonTrainable,
  type PredictionKind,
  perImage,
  Trainable,
} from "../../src/diffusion/index.js";
import { constant, Module, Parameter } from "../../src/nn/index.js";
import { Streams, type Tensor } from "../../src/torch/index.js";

/** `y = kappa x` */
class Scaling extends Module implements DataEncoder {
  readonly #kappa: number;
  constructor(kappa: number) {
    super();
    this.#kappa = kappa;
  }
  forward(x: Tensor): Tensor {
    return x.mul(this.#kappa);
  }
}

/** `a = alpha^2 + kappa sigma^2`: the identity for kappa = 1, the non-trainable encoding for 0, a `y = kappa x` else. */
export function linearEncoding(kappa: number): Encoding {
  if (kappa === 1) return new Identity();
  return kappa === 0 ? new NonTrainable() : new Trainable({ network: new Scaling(kappa) });
}

export interface BestDenoiserOptions {
  readonly m: number;
  readonly v: number;
  readonly kappa: number;
  /** k: 1 with the counter-term, 0 without. */
  readonly counter: 0 | 1;
  readonly kind: PredictionKind;
  /** gamma_t - gamma_s, for a chain of such steps; continuous time where absent. */
  readonly step?: number;
}

/**
 * `x_hat = r E[x | z_t]`, `E[x | z_t] = m + alpha a v / (alpha^2 a^2 v + sigma^2) (z - alpha a m)`, where
 * `r = (a + da/dlambda) / (1 + k sigma^2)` in continuous time (section 12 of the notes) and, from section 3.1 in the same way,
 * `r = (a_s - (1 - c) a_t) / (c + k (gamma_t - gamma_s) sigma_t^2)` for a step.
 */
export class BestDenoiser extends Module implements Denoiser {
  /** Makes the module's dtype known. */
  readonly m: Parameter;
  readonly #options: BestDenoiserOptions;

  constructor(options: BestDenoiserOptions) {
    super();
    this.#options = options;
    this.m = new Parameter([], constant(options.m));
    this.initialise(new Streams(0), { dtype: "float64" });
  }

  #a({ alpha2, sigma2 }: NoiseLevel): Tensor {
    return alpha2.add(sigma2.mul(this.#options.kappa));
  }

  #ratio(level: NoiseLevel): Tensor {
    const { kappa, counter, step } = this.#options;
    const { alpha2, sigma2 } = level;
    const a = this.#a(level);
    if (step === undefined) return a.add(alpha2.mul(sigma2).mul(1 - kappa)).div(sigma2.mul(counter).add(1));
    const aS = this.#a(new NoiseLevel(level.gamma.sub(step)));
    return aS.sub(a.mul(Math.exp(-step))).div(sigma2.mul(counter * step).sub(Math.expm1(-step)));
  }

  forward(z: Tensor, gamma: Tensor): Tensor {
    const level = new NoiseLevel(perImage(gamma, z.rank), z.dtype);
    const m = this.m.value;
    const gain = level.alpha.mul(this.#a(level)); // z_t = gain x + sigma_t eps
    const { v, kind } = this.#options;
    const weight = gain.mul(v).div(gain.square().mul(v).add(level.sigma2));
    const x = m.add(weight.mul(z.sub(gain.mul(m)))).mul(this.#ratio(level));
    return convertPrediction(x, "x", kind, z, level);
  }
}
