/** DDGM: the denoising diffusion model of discrete steps (Ho et al., 2020; Nichol, Dhariwal, 2021), one network for all of them. */
import type { FirstTerm } from "../diffusion/chain/objective.js";
import type { StepNetwork } from "../diffusion/chain/step-network.js";
import type { Tensor } from "../torch/index.js";
import { ChainDiffusion, type ChainOptions } from "./chain.js";
import type { ChainPass } from "./chain-walk.js";

export interface DdgmOptions extends ChainOptions {
  readonly network: StepNetwork;
}

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
