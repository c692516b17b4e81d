/** What a chain of discrete steps asks of the network that predicts. */
import type { Tensor } from "../../torch/index.js";
import type { CostedNetwork, Pass } from "../denoiser.js";

/**
 * Predicts from `x` `[B, C, H, W]` and the number `t` `[B]` of its step, from 0, float or integer, in the numbering of the
 * whole chain also where a sampler skips steps. `condition` `[B]` holds class numbers where the network knows classes. The
 * result is `[B, C, H, W]`, or `[B, 2C, H, W]` with the variances' part behind.
 */
export interface StepNetwork extends CostedNetwork {
  forward(x: Tensor, t: Tensor, condition: Tensor | undefined, pass: Pass): Tensor;
}
