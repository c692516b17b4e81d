/** What an encoding is: the clean mean x_t that z_t is made of, and how it moves along the noise level. */
import { Module } from "../../nn/index.js";
import type { Tensor } from "../../torch/index.js";
import type { Pass } from "../denoiser.js";

/** What an encoding depends on besides the data. */
export interface EncodingContext {
  /** One number per image, `[B]`. */
  readonly condition: Tensor;
  readonly pass: Pass;
}

/** An encoding with its derivative along the noise level. */
export interface Encoded {
  /** `x_t` */
  readonly x: Tensor;
  /**
   * `x_t - (1 / sigma_t^2) dx_t/dlambda`, lambda = log SNR: what the losses need of the derivative, with the division by
   * sigma^2 done on paper, since near t = 0 it is 0/0 in numbers.
   */
  readonly surplus: Tensor;
}

/** `x_t = x_phi(x, t)` (DiffEnc, section 3): data in [-1, 1] `[B, C, H, W]` and levels gamma `[B]`, float64. */
export abstract class Encoding extends Module {
  /** `x_t` */
  abstract at(x: Tensor, gamma: Tensor, context: EncodingContext): Tensor;
  /** `x_t` and its derivative, both differentiable in the encoding's parameters and in gamma. */
  abstract withRate(x: Tensor, gamma: Tensor, context: EncodingContext): Encoded;
  /** `x_t` at several levels at once. */
  atAll(x: Tensor, gammas: readonly Tensor[], context: EncodingContext): Tensor[] {
    return gammas.map((gamma) => this.at(x, gamma, context));
  }
  /** `x_t` and the step `x_s - x_t` to the cleaner level s, without cancellation where a closed form is known. */
  change(
    x: Tensor,
    gamma: { readonly s: Tensor; readonly t: Tensor },
    context: EncodingContext,
  ): { readonly x: Tensor; readonly change: Tensor } {
    const [s, t] = this.atAll(x, [gamma.s, gamma.t], context) as [Tensor, Tensor];
    return { x: t, change: s.sub(t) };
  }
}
