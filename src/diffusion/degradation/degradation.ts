/** What a degradation is: a forward process of cold diffusion, told level by level. */
import { UserError } from "../../errors.js";
import { full, type Tensor } from "../../torch/index.js";

/**
 * What is left of an image at the last level: `black` exact zeros, `colour` its mean colour, exactly or nearly, `corner` the
 * colour of its first pixel, `noise` nearly a standard normal, `blurred` an image still, so that sampling starts from
 * degraded images of the training set.
 */
export type EndState = "black" | "colour" | "corner" | "noise" | "blurred";

/**
 * `x_k = D(x_0, k)`, k = 0 .. T, always from the clean image: images of a batch are treated one by one, each at its own level.
 * Level 0 is the image itself, bit for bit. `D(x_0, k)` is differentiable in x_0, on any device, in float32 and float64.
 */
export interface Degradation {
  /** T */
  readonly levels: number;
  readonly end: EndState;
  /** @throws UserError for images that it cannot degrade; all are taken where it is absent */
  checkSize?(height: number, width: number): void;
  /**
   * `D(x, level)`; of a noisy process its mean `E[x_k | x_0]`.
   *
   * @param x `[B, C, H, W]`; those that fade take 0 for black
   * @param level int64 `[B]`, 0 .. T, on the device of `x`
   */
  degrade(x: Tensor, level: Tensor): Tensor;
  /** Standard deviation of the white noise on top of `degrade`: `[B, 1, 1, 1]` in the dtype of `like`. Absent: no noise. */
  noiseDeviation?(level: Tensor, like: Tensor): Tensor;
  /**
   * What becomes at level `to` of images `x` that are at level `from` already, `from <= to`: `D(x_0, to)` where `x` is
   * `D(x_0, from)`. Absent where a state does not tell its future.
   */
  degradeFurther?(x: Tensor, from: number, to: number): Tensor;
}

/**
 * Images at level `from` taken to level `to`, `from <= to`.
 * @throws UserError where that cannot be told
 */
export function degradedFurther(degradation: Degradation, x: Tensor, from: number, to: number): Tensor {
  if (from === to) return x;
  if (from === 0) return degradation.degrade(x, full([x.dim(0)], to, { dtype: "int64", device: x.device }));
  if (!degradation.degradeFurther)
    throw new UserError(
      "expected a degradation by heat, fading or both to degrade further what is degraded already, got another: take a jump over all levels, or another sampler",
    );
  return degradation.degradeFurther(x, from, to);
}

/**
 * The state at `level`: `D(x, level) + s noise`, s the degradation's own deviation. A degradation without noise reads none.
 *
 * @param noise standard normal, in the shape of `x`
 */
export function degraded(degradation: Degradation, x: Tensor, level: Tensor, noise: Tensor): Tensor {
  const mean = degradation.degrade(x, level);
  const deviation = degradation.noiseDeviation?.(level, x);
  return deviation ? mean.add(deviation.mul(noise)) : mean;
}
