/** The probability-flow ODE: exact likelihood, and sampling without noise. */
import type { Tensor } from "../../torch/index.js";

/** `dx/dt = h(x, t)` from data (t = 0) to noise (t = 1); images do not interact. */
export interface ProbabilityFlow {
  /** h at one time for all images, in x's dtype and shape; differentiable in x. */
  drift(x: Tensor, t: number): Tensor;
}
