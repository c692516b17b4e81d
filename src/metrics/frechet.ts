/** The Frechet distance between Gaussians fitted to two sets of features. */
import { operator, operatorMany, scope, stack, type Tensor, zeros } from "../torch/index.js";
import { overRows } from "./tiles.js";

const symmetricEigen = operatorMany("aten::linalg_eigh");
const trace = operator("aten::trace");

/** A Gaussian in F dimensions, float64. */
export interface GaussianFit {
  /** `[F]` */
  readonly mean: Tensor;
  /** `[F, F]` */
  readonly covariance: Tensor;
}

/**
 * Mean and covariance (divided by N - 1) of features `[N, F]`, computed in float64.
 * @throws Error for fewer than two of them
 */
export function fitGaussian(features: Tensor): GaussianFit {
  const count = features.dim(0);
  if (count < 2) throw new Error(`expected at least 2 feature vectors for a covariance, got ${count}`);
  return scope(() => {
    const mean = stack(overRows(features, (rows) => rows.sum([0])))
      .sum([0])
      .div(count);
    const width = features.dim(1);
    const scatter = zeros([width, width], { dtype: "float64", device: features.device });
    overRows(features, (rows) => {
      const centred = rows.sub(mean);
      scatter.add_(centred.transpose(0, 1).matmul(centred));
    });
    return { mean, covariance: scatter.div(count - 1) };
  });
}

/** The square roots of a symmetric matrix's eigenvalues, which rounding may make negative where they are 0; and its eigenvectors. */
function rootsOf(matrix: Tensor): { readonly roots: Tensor; readonly vectors: Tensor } {
  const [values, vectors] = symmetricEigen(matrix, "L");
  if (!values || !vectors) throw new Error("expected aten::linalg_eigh to return values and vectors");
  return { roots: values.clamp(0).sqrt(), vectors };
}

/**
 * `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^(1/2) C2 C1^(1/2))^(1/2))`, the squared Wasserstein distance of order two between
 * two Gaussians (Dowson and Landau, 1982), at least 0; in the square of the features' unit. The matrix whose root is
 * taken is symmetric, and covariances need not be invertible.
 */
export function frechetDistance(first: GaussianFit, second: GaussianFit): number {
  return scope(() => {
    const { roots, vectors } = rootsOf(first.covariance);
    const root = vectors.mul(roots).matmul(vectors.transpose(0, 1));
    const product = root.matmul(second.covariance).matmul(root);
    const cross = rootsOf(product.add(product.transpose(0, 1)).div(2)).roots.sum();
    const spread = trace(first.covariance).add(trace(second.covariance)).sub(cross.mul(2));
    const means = first.mean.sub(second.mean).square().sum();
    return Math.max(0, means.add(spread).item());
  });
}
