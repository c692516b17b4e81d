/** The flow of Gaussian data N(mu, Sigma) with the optimal denoiser, whose likelihoods are known in closed form. */

import { type NoiseCurve, NoiseLevel } from "../../src/diffusion/index.js";
import { driftFromNoise, type ProbabilityFlow } from "../../src/diffusion/likelihood/flow.js";
import { operator, type Tensor, tensor } from "../../src/torch/index.js";

const inverse = operator("aten::inverse");
const logdet = operator("aten::logdet");
/** The diagonal of a matrix, and the matrix of a diagonal. */
export const diagonalOf = operator("aten::diag");
const identityLike = (matrix: Tensor) => diagonalOf(matrix.select(0, 0).mul(0).add(1));

/** `log N(x; mean, covariance)` of each row of x `[B, D]`. */
export function gaussianLogDensity(x: Tensor, mean: Tensor, covariance: Tensor): Tensor {
  const r = x.sub(mean);
  return r
    .matmul(inverse(covariance))
    .mul(r)
    .sum([1])
    .add(logdet(covariance))
    .add(x.dim(1) * Math.log(2 * Math.PI))
    .mul(-0.5);
}

export class GaussianFlow implements ProbabilityFlow {
  readonly mean: Tensor;
  readonly covariance: Tensor;
  readonly curve: NoiseCurve;

  /** `mean` `[D]`, `covariance` `[D, D]` or, where it is diagonal, `[D]`; `curve` gives gamma as `[1, D]` or `[1]`. */
  constructor(mean: Tensor, covariance: Tensor, curve: NoiseCurve) {
    this.mean = mean;
    this.covariance = covariance.rank === 1 ? diagonalOf(covariance) : covariance;
    this.curve = curve;
  }

  /** Mean and covariance of x_t: `alpha mu`, `A Sigma A + S^2` with `A = diag alpha`, `S = diag sigma`. */
  marginal(t: number): { mean: Tensor; covariance: Tensor; level: NoiseLevel; dGamma: Tensor } {
    const { gamma, dGamma } = this.curve.at(tensor([t], { dtype: "float64" }));
    const level = new NoiseLevel(gamma);
    const alpha = level.alpha.expand([1, this.mean.dim(0)]);
    const noise = identityLike(this.covariance).mul(level.sigma2);
    const covariance = alpha.transpose(0, 1).mul(this.covariance).mul(alpha).add(noise);
    return { mean: this.mean.mul(alpha), covariance, level, dGamma };
  }

  /** `log p(x_t)` of each row. */
  logMarginal(x: Tensor, t: number): Tensor {
    const { mean, covariance } = this.marginal(t);
    return gaussianLogDensity(x, mean, covariance);
  }

  /** `eps_hat = sigma (A Sigma A + S^2)^-1 (x - alpha mu)`, that is -sigma times the score. */
  drift(x: Tensor, t: number): Tensor {
    const { mean, covariance, level, dGamma } = this.marginal(t);
    const epsHat = level.sigma.mul(x.to("float64").sub(mean).matmul(inverse(covariance)));
    return driftFromNoise(epsHat, x, level, dGamma).to(x.dtype);
  }
}
