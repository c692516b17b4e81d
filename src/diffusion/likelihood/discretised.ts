/** Pixels to [-1, 1] and back, and the likelihood of a pixel given the cleanest latent (VDM, eq. 8). */
import { arange, type Tensor } from "../../torch/index.js";

/** `f = 2 (x + 1/2) / V - 1`: the middle of each of V bins on (-1, 1). */
export function encodePixels(x: Tensor, levels: number): Tensor {
  return x
    .add(0.5)
    .mul(2 / levels)
    .sub(1);
}

/** The nearest bin of `y = z_0 / alpha_0`, which is the most likely one: whole numbers 0 .. V - 1. */
export function decodePixels(y: Tensor, levels: number): Tensor {
  return y
    .add(1)
    .mul(levels / 2)
    .floor()
    .clamp(0, levels - 1);
}

/** `logit_k = -((y - v_k) exp(-gamma_0 / 2))^2 / 2` of bins whose values are `values`. */
function logits(y: Tensor, values: Tensor, gamma0: Tensor): Tensor {
  return y.sub(values).mul(gamma0.mul(-0.5).exp().to(y.dtype)).square().mul(-0.5);
}

/** gamma_0 for values with a last dimension of bins. */
function overBins(gamma0: Tensor): Tensor {
  return gamma0.rank > 1 ? gamma0.unsqueeze(-1) : gamma0;
}

/** All log-probabilities, shape `[..., V]`. */
export function pixelLogProbabilities(y: Tensor, gamma0: Tensor, levels: number): Tensor {
  const table = encodePixels(arange(0, levels, 1, { dtype: y.dtype, device: y.device }), levels);
  return logits(y.unsqueeze(-1), table, overBins(gamma0)).logSoftmax(-1);
}

/** Bins on each side of the nearest one beyond which nothing within 1e-30 is left, for noise `exp(gamma_0 / 2)`. */
function windowRadius(gamma0: number, levels: number): number {
  return Math.ceil((12 * Math.exp(gamma0 / 2) * levels) / 2) + 2;
}

/**
 * `log p(x | z_0)` per dimension: a softmax over V bins, of which only those near y are summed, since the noise of
 * z_0 is narrower than a bin (`[..., V]` would be 100 million numbers for 128 CIFAR images). The bin of the true
 * value is computed by itself, because a rare draw can put it outside the window.
 *
 * @param x whole numbers 0 .. V - 1; @param y `z_0 / alpha_0`, same shape; @param gamma0 `[1]`, or of x's rank
 * and a shape that broadcasts to x's; @param largest of gamma0, read from it where absent, which waits for the device
 */
export function pixelLogLikelihood(
  x: Tensor,
  y: Tensor,
  gamma0: Tensor,
  levels: number,
  { largest = gamma0.max().item() }: { readonly largest?: number | undefined } = {},
): Tensor {
  const radius = windowRadius(largest, levels);
  if (2 * radius + 1 >= levels)
    return pixelLogProbabilities(y, gamma0, levels).gather(-1, x.to("int64").unsqueeze(-1)).squeeze(-1);
  const offsets = arange(-radius, radius + 1, 1, { dtype: y.dtype, device: y.device });
  const bins = decodePixels(y.detach(), levels).unsqueeze(-1).add(offsets);
  const outside = bins.lt(0).to(y.dtype).add(bins.ge(levels).to(y.dtype)).mul(-1e30);
  const total = logits(y.unsqueeze(-1), encodePixels(bins, levels), overBins(gamma0))
    .add(outside)
    .logSumExp([-1]);
  return logits(y, encodePixels(x, levels), gamma0).sub(total);
}
