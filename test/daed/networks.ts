/** Networks of which everything is known, and systems made of them. */
import type { ReverseType } from "../../src/diffusion/index.js";
import { constant, Parameter } from "../../src/nn/index.js";
import { DDGM, type DdgmOptions } from "../../src/systems/index.js";
import { Streams, type Tensor, tensor } from "../../src/torch/index.js";
import { Formula } from "./toys.js";

export const eps = (variance: ReverseType["variance"]): ReverseType => ({ mean: "eps", variance });

/** A formula times a weight of 1, so that a system of it has a precision and gradients. */
export class Weighted extends Formula {
  readonly weight = new Parameter([1], constant(1));

  override forward(x: Tensor, t: Tensor): Tensor {
    return super.forward(x, t).mul(this.weight.value);
  }
}

/** A DDGM in float64, trained on squared errors. */
export function ddgm(options: Omit<DdgmOptions, "loss" | "sampling">): DDGM {
  const system = new DDGM({ loss: "simple", sampling: "uniform", ...options });
  return system.initialise(new Streams(0), { dtype: "float64" });
}

/**
 * The noise that is expected in `x` = x_t of images ~ N(0, s2), which is the best that can be predicted:
 * `x sqrt(1 - abar) / (abar s2 + 1 - abar)`. `t` `[B, 1, 1, 1]` are numbers of the steps of `alphasCumprod`.
 */
export function exactNoise(alphasCumprod: Float64Array, s2: number): (x: Tensor, t: Tensor) => Tensor {
  return (x, t) => {
    const factors = t.toArray().map((step) => {
      const abar = alphasCumprod[Math.round(step)] as number;
      return Math.sqrt(1 - abar) / (abar * s2 + 1 - abar);
    });
    return x.mul(tensor(factors, { dtype: "float64" }).to(x.dtype).reshape(t.shape));
  };
}
