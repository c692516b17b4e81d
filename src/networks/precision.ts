/** The middle of a network in the precision of the pass, its ends in their own. */
import type { Pass } from "../diffusion/denoiser.js";
import { autocast, scope, type Tensor } from "../torch/index.js";

/**
 * `body(stem)`: convolutions and matrix products run in the pass's precision where that is half, in the stem's own
 * otherwise. The result has the stem's dtype.
 */
export function inPrecision(
  { precision, maps = "half" }: Pass,
  stem: Tensor,
  body: (first: Tensor) => Tensor,
): Tensor {
  // In a scope: backward then frees each activation behind itself.
  if (precision !== "bfloat16" && precision !== "float16") return scope(() => body(stem));
  const { dtype } = stem;
  const device = stem.device.startsWith("cuda") ? "cuda" : "cpu";
  const first = () => (maps === "half" ? stem.to(precision) : stem);
  return scope(() => autocast({ dtype: precision, device }, () => body(first())).to(dtype));
}
