/** What systems ask of networks that encode data: by noise level (DiffEnc), or to an auxiliary latent (MuLAN). */
import type { Module } from "../nn/index.js";
import type { Tensor } from "../torch/index.js";
import type { Pass } from "./denoiser.js";

/**
 * `y_phi(x, gamma, condition)` of `x` `[B, C, H, W]`, `gamma` `[B]` and the condition of each image, `[B]`: values in
 * (-1, 1) of x's shape, 0 at initialisation. Images do not interact, so `directionalDerivative` in gamma gives dy/dgamma
 * of each.
 */
export interface DataEncoder extends Module {
  forward(x: Tensor, gamma: Tensor, condition: Tensor, pass: Pass): Tensor;
}

/** The parameters of `q(z | x0)`: from `x0` `[B, C, H, W]` one `[B, m]` for every head. */
export interface LatentEncoder extends Module {
  forward(x0: Tensor, pass: Pass): Tensor[];
}
