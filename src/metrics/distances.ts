/** Distances between feature vectors. */
import type { Tensor } from "../torch/index.js";

/** What the rounding of a squared distance may be beside the squared norms it is the difference of. */
const rounding = 1e-13;

/**
 * `max(|u|^2 - 2 u.v + |v|^2, 0)` for all pairs of float64 rows, `[N, F]` and `[M, F]` to `[N, M]`. What may be no
 * more than rounding is 0, so that copies are at no distance from each other.
 */
export function squaredDistances(u: Tensor, v: Tensor): Tensor {
  const norms = u
    .square()
    .sum([1], { keepDims: true })
    .add(v.square().sum([1]));
  const squares = norms.sub(u.matmul(v.transpose(0, 1)).mul(2));
  return squares.mul(squares.ge(norms.mul(rounding)).to("float64"));
}
