/** What one step of a Gaussian sampler is: a function of the latent, the prediction and two noise levels. */
import type { Tensor } from "../../torch/index.js";
import type { NoiseLevel } from "../level.js";

/** The network's prediction in the two forms samplers use. */
export interface Prediction {
  readonly x: Tensor;
  readonly eps: Tensor;
}

export interface SamplerStep {
  readonly z: Tensor;
  readonly prediction: Prediction;
  /** Where z is. */
  readonly from: NoiseLevel;
  /** Where it goes: cleaner. */
  readonly to: NoiseLevel;
  /** Where the clean mean of z itself depends on the level (DiffEnc): how far it is expected to move, `x_s - x_t`. */
  readonly motion?: Tensor | undefined;
  /** A fresh standard normal draw of z's shape. */
  noise(): Tensor;
}

/** One step towards clean data. */
export type GaussianSampler = (step: SamplerStep) => Tensor;
