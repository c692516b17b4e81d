/** What a classifier whose features judge images asks of its network. */
import type { CostedNetwork, Pass } from "../diffusion/denoiser.js";
import type { Tensor } from "../torch/index.js";

/** What a network sees in images. */
export interface Classified {
  /** `[B, K]`, unnormalised log-probabilities of the classes. */
  readonly logits: Tensor;
  /** `[B, F]`: what distances between sets of images are measured in. */
  readonly features: Tensor;
  /** `[B, S]`: features that still know where in the image they are. */
  readonly spatial: Tensor;
}

/** Channels of a feature map that are kept as spatial features, as of Inception's (Nash et al., 2021, "sFID"). */
export const spatialChannels = 7;

export interface ClassifierNetwork extends CostedNetwork {
  /** `x` `[B, C, H, W]` in [-1, 1]. */
  forward(x: Tensor, pass: Pass): Classified;
}
