/** The elementwise models that the golden vectors were computed with, in place of networks. */
import type { Pass, StepNetwork } from "../../src/diffusion/index.js";
import { Module } from "../../src/nn/index.js";
import { cat, type Tensor } from "../../src/torch/index.js";

/** A network that is a formula in x and, for all images the same, t. */
export class Formula extends Module implements StepNetwork {
  readonly #of: (x: Tensor, t: Tensor) => Tensor;

  constructor(of: (x: Tensor, t: Tensor) => Tensor) {
    super();
    this.#of = of;
  }

  forward(x: Tensor, t: Tensor, _condition?: Tensor, _pass?: Pass): Tensor {
    return this.#of(x, t.to(x.dtype).reshape([-1, 1, 1, 1]));
  }
}

/** `0.8 x cos(0.05 t) + 0.1 sin(3 x)` */
export const toy1 = (x: Tensor, t: Tensor) => x.mul(0.8).mul(t.mul(0.05).cos()).add(x.mul(3).sin().mul(0.1));

/** toy1, and behind it the variances' part `tanh(x) cos(0.3 t)` */
export const toy2 = (x: Tensor, t: Tensor) => cat([toy1(x, t), x.tanh().mul(t.mul(0.3).cos())], 1);
