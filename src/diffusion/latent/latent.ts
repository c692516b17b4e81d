/** What an auxiliary latent z of an image is: a law that an encoder's output names, a prior, and their divergence. */
import type { FloatDtype, Generator, Tensor } from "../../torch/index.js";

export interface LatentDraw {
  /** `[B, m]`; discrete entries are exactly 0 and 1, and carry the gradient of their relaxation. */
  readonly z: Tensor;
  /** KL(q(z | x) || p(z)) as the latent charges it, `[B]`, nats, at least 0. */
  readonly kl: Tensor;
}

export interface LatentTensorOptions {
  readonly dtype: FloatDtype;
  readonly device?: string;
}

/** A latent has no parameters of its own: they are the encoder's. Generators are those of the CPU. */
export interface Latent {
  /** m, entries of z. */
  readonly size: number;
  /** Outputs `[B, m]` of the encoder: 1 (logits) or 2 (mean and raw variance). */
  readonly heads: 1 | 2;
  /** z ~ q(z | x). `step`: the training step, for a temperature that falls; undefined asks for its lowest. */
  draw(encoded: readonly Tensor[], generator: Generator, step: number | undefined): LatentDraw;
  /** z without noise, and its divergence. */
  mode(encoded: readonly Tensor[]): LatentDraw;
  /** `count` latents z ~ p(z), `[count, m]`. */
  prior(count: number, generator: Generator, options: LatentTensorOptions): Tensor;
  /** `count` times the same latent, that of the official sample grids, `[count, m]`. */
  fixed(count: number, options: LatentTensorOptions): Tensor;
}

/** The encoder's only output. @throws Error where it has another number of them. */
export function onlyHead(encoded: readonly Tensor[]): Tensor {
  const [logits, ...others] = encoded;
  if (!logits || others.length > 0)
    throw new Error(`expected an encoder with 1 output, got ${encoded.length}`);
  return logits;
}

/** `hard` with the gradient of `soft`. `soft - soft` is exactly 0, which `hard - soft + soft` is not. */
export function straightThrough(hard: Tensor, soft: Tensor): Tensor {
  return soft.sub(soft.detach()).add(hard);
}
