/** What the guided-diffusion U-Net makes of a step's number: waves, and two linear maps of them. */
import type { Linear } from "../../nn/index.js";
import type { Dtype, Tensor } from "../../torch/index.js";
import { stepEmbedding } from "../features.js";
import { dense } from "./layer.js";

/** The null is an activation: positions are those of the official state dict. */
export type TimeEmbedding = readonly [Linear, null, Linear];

/** `channels -> 4 channels -> 4 channels` */
export function timeEmbedding(channels: number): TimeEmbedding {
  const features = 4 * channels;
  return [dense(channels, features), null, dense(features, features)];
}

/** `t` `[B]` -> `[B, 4 channels]` in `dtype`, not yet activated. */
export function embedTime([first, , second]: TimeEmbedding, t: Tensor, dtype: Dtype): Tensor {
  const waves = stepEmbedding(t, first.weight.shape[1] as number).to(dtype);
  return second.forward(first.forward(waves).silu());
}

/** Of one image and one time. */
export function timeEmbeddingFlops([first, , second]: TimeEmbedding): number {
  return 2 * (first.weight.size + second.weight.size);
}
