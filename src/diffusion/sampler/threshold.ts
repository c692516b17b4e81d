/** Percentile thresholding of predicted images (DiffEnc's code, after Imagen's dynamic thresholding). */
import { full, operator, type Tensor } from "../../torch/index.js";

const quantile = operator("aten::quantile.scalar");

/**
 * `clamp(x, -p, p) / p` where p, the percentile of |x| over the whole batch (linearly interpolated), exceeds 1; else x.
 *
 * @param percentile in (0, 100]
 */
export function thresholded(x: Tensor, percentile: number): Tensor {
  const p = quantile(x.abs().flatten(), percentile / 100, null, false, "linear");
  const exceeds = full([], 1, { dtype: p.dtype, device: p.device }).lt(p);
  const clamped = x.minimum(p).maximum(p.neg()).div(p);
  return exceeds.where(clamped, x);
}
