/** The forward process of a discrete chain: q(x_t | x_0), its posterior, and chains of fewer steps. */
import { type Tensor, tensor } from "../../torch/index.js";
import { priorDivergence } from "../likelihood/bound.js";
import { respacedSteps } from "./respacing.js";
import { type ChainTables, chainTables } from "./tables.js";

/** A normal distribution for every pixel; the logarithm of the variance broadcasts against the mean. */
export interface Normal {
  readonly mean: Tensor;
  readonly logVariance: Tensor;
}

/**
 * `x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise`, t = 0 .. T - 1 (Ho et al., 2020; the paper's step is t + 1).
 * Images are `[B, C, H, W]`; `t` is int64 `[B]`.
 */
export class GaussianChain {
  readonly tables: ChainTables;
  /** What the network is told of each step: its number in the chain that was trained. */
  readonly timesteps: readonly number[];
  readonly #stored = new Map<string, Tensor>();

  /** @throws UserError unless there are two betas at least, all inside (0, 1) */
  constructor(betas: readonly number[], timesteps?: readonly number[]) {
    this.tables = chainTables(betas);
    this.timesteps = timesteps ?? betas.map((_, t) => t);
  }

  /** T */
  get length(): number {
    return this.tables.betas.length;
  }

  /** The chain through the given states alone: `beta = 1 - abar_i / abar_last`; the network is told the old numbers. */
  kept(indices: readonly number[]): GaussianChain {
    let last = 1;
    const betas = indices.map((i) => {
      const abar = this.tables.alphasCumprod[i] as number;
      const beta = 1 - abar / last;
      last = abar;
      return beta;
    });
    return new GaussianChain(
      betas,
      indices.map((i) => this.timesteps[i] as number),
    );
  }

  /** A chain of fewer steps. @throws UserError where `spec` cannot be met */
  respaced(spec: string): GaussianChain {
    return this.kept(respacedSteps(this.length, spec));
  }

  /** The numbers of a table for the steps `t`, to multiply images like `like` with: `[B, 1, 1, 1]`. */
  at(table: keyof ChainTables, t: Tensor, like: Tensor): Tensor {
    return this.#select(table, this.tables[table], t)
      .to(like.dtype)
      .reshape([-1, ...like.shape.slice(1).map(() => 1)]);
  }

  /** The number of each step in the chain that was trained, float64 `[B]`. */
  numbersOf(t: Tensor): Tensor {
    return this.#select("timesteps", this.timesteps, t);
  }

  #select(name: string, values: ArrayLike<number>, t: Tensor): Tensor {
    const key = `${name} ${t.device}`;
    let stored = this.#stored.get(key);
    if (!stored) {
      stored = tensor(Array.from(values), { dtype: "float64" }).toDevice(t.device).keep();
      this.#stored.set(key, stored);
    }
    return stored.indexSelect(0, t);
  }

  /** `x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise`. */
  diffuse(x0: Tensor, t: Tensor, noise: Tensor): Tensor {
    return this.at("sqrtAlphasCumprod", t, x0)
      .mul(x0)
      .add(this.at("sqrtOneMinusAlphasCumprod", t, x0).mul(noise));
  }

  /** q(x_t | x_0). */
  marginal(x0: Tensor, t: Tensor): Normal {
    return {
      mean: this.at("sqrtAlphasCumprod", t, x0).mul(x0),
      logVariance: this.at("logOneMinusAlphasCumprod", t, x0),
    };
  }

  /** The mean of q(x_{t-1} | x_t, x_0): `coef1 x_0 + coef2 x_t`. */
  posteriorMean(x0: Tensor, xt: Tensor, t: Tensor): Tensor {
    return this.at("posteriorMeanCoef1", t, xt)
      .mul(x0)
      .add(this.at("posteriorMeanCoef2", t, xt).mul(xt));
  }

  /** q(x_{t-1} | x_t, x_0). */
  posterior(x0: Tensor, xt: Tensor, t: Tensor): Normal {
    return {
      mean: this.posteriorMean(x0, xt, t),
      logVariance: this.at("posteriorLogVarianceClipped", t, xt),
    };
  }

  /** `x_0 = sqrt(1 / abar_t) x_t - sqrt(1 / abar_t - 1) eps`. */
  imageFromNoise(xt: Tensor, eps: Tensor, t: Tensor): Tensor {
    return this.at("sqrtRecipAlphasCumprod", t, xt)
      .mul(xt)
      .sub(this.at("sqrtRecipm1AlphasCumprod", t, xt).mul(eps));
  }

  /** `eps = (sqrt(1 / abar_t) x_t - x_0) / sqrt(1 / abar_t - 1)`. */
  noiseFromImage(xt: Tensor, x0: Tensor, t: Tensor): Tensor {
    return this.at("sqrtRecipAlphasCumprod", t, xt)
      .mul(xt)
      .sub(x0)
      .div(this.at("sqrtRecipm1AlphasCumprod", t, xt));
  }

  /** `KL(q(x_{T-1} | x_0) || N(0, 1))`, nats per image `[B]`. */
  prior(x0: Tensor): Tensor {
    const abar = this.tables.alphasCumprod[this.length - 1] as number;
    const gamma1 = tensor([Math.log1p(-abar) - Math.log(abar)], { dtype: "float64" }).toDevice(x0.device);
    return priorDivergence(x0, gamma1);
  }
}
