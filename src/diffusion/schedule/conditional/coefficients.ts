/** The network from a latent to what a schedule's coefficients are read from. */
import { Linear, Module } from "../../../nn/index.js";
import type { Tensor } from "../../../torch/index.js";

/** Two hidden layers with SiLU, `z` `[B, m] -> [B, F]`; the heads of all coefficients share them. */
export class CoefficientNetwork extends Module {
  readonly dense1: Linear;
  readonly dense2: Linear;

  constructor(latentSize: number, hidden: number) {
    super();
    this.dense1 = new Linear(latentSize, hidden);
    this.dense2 = new Linear(hidden, hidden);
  }

  forward(z: Tensor): Tensor {
    return this.dense2.forward(this.dense1.forward(z).silu()).silu();
  }
}
