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
  /** A fresh standard normal draw of z's shape. */
  noise(): Tensor;
}

/** One step towards clean data. */
export type GaussianSampler = (step: SamplerStep) => Tensor;
