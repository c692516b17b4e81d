/** DDGM: the denoising diffusion model of discrete steps (Ho et al., 2020; Nichol, Dhariwal, 2021), one network for all of them. */
import type { FirstTerm } from "../diffusion/chain/objective.js";
import type { StepNetwork } from "../diffusion/chain/step-network.js";
import type { Tensor } from "../torch/index.js";
import { ChainDiffusion, type ChainOptions } from "./chain.js";
import type { ChainPass } from "./chain-walk.js";

export interface DdgmOptions extends ChainOptions {
  readonly network: StepNetwork;
}

/**
 * `q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I)` with `abar_t = prod_{s <= t} (1 - beta_s)` (Ho et al., eq. 4), walked back by
 * `p(x_{t-1} | x_t) = N(mu_theta(x_t, t), Sigma_theta(x_t, t))`, t = 0 .. T - 1 here. The network maps x_t `[B, C, H, W]` and t `[B]` to
 * eps, x_0 or the mean, `[B, C, H, W]`, or `[B, 2C, H, W]` where it has learned variances too. Trained on
 *
 *   simple   mean (eps - eps_hat)^2, plus the term of the bound where variances are learned   (Ho et al., eq. 14)
 *   hybrid   the same with the term times T / 1000                                            (Nichol, Dhariwal, eq. 16)
 *   kl       the term alone: KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), or -log p(x_0 | x_1) at the first step, bits/dim
 *   vlb      T times the term, the bound up to its prior
 */
export class DDGM extends ChainDiffusion {
  readonly network: StepNetwork;
  protected readonly trainedFirst: FirstTerm = "quantised";
  protected readonly evaluatedFirst: FirstTerm = "quantised";

  constructor(options: DdgmOptions) {
    super(options);
    this.network = options.network;
  }

  protected predict(x: Tensor, t: Tensor, { condition, pass }: ChainPass): Tensor {
    return this.network.forward(x, t, condition, pass);
  }
}
