/** Perturbations of logits: Gumbel, and the sum of gamma variables that approaches it for k entries. */
import { full, type Generator, operator, rand, type Shape, type Tensor } from "../../torch/index.js";

const standardGamma = operator("aten::_standard_gamma");
const float64 = { dtype: "float64" } as const;

/** `-log(-log u)` of uniform `u` in (0, 1). */
export function gumbelOf(u: Tensor): Tensor {
  return u.log().neg().log().neg();
}

/** Standard Gumbel noise, float64. A uniform draw of 0 stands for all below `2^-53`. */
export function drawGumbel(shape: Shape, generator: Generator): Tensor {
  return gumbelOf(rand(shape, generator, float64).clamp(2 ** -54));
}

/** Terms of the sum, s. */
const terms = 10;
/** Temperature of the noise, tau. */
const temperature = 10;

/**
 * Which scale the i-th gamma variable has. `imle`: k / i, as implicit maximum likelihood defines it (standard deviation
 * 3.21 for k = 15). `official`: i / k, as MuLAN's code has it, fourteen times weaker (0.225).
 */
export type GammaScale = "official" | "imle";

/**
 * `(tau / k) (sum_i scale_i y_i - log s)` of unit-scale gamma draws `y` `[s, ...]` of shape `1 / k`, s = tau = 10
 * (Niepert et al. 2021, arXiv 2106.01798).
 */
export function sumOfGamma(y: Tensor, k: number, scale: GammaScale): Tensor {
  const s = y.dim(0);
  const sum = Array.from({ length: s }, (_, j) => {
    const i = j + 1;
    return y.select(0, j).mul(scale === "official" ? i / k : k / i);
  }).reduce((total, term) => total.add(term));
  return sum.sub(Math.log(s)).mul(temperature / k);
}

/**
 * Sum-of-gamma noise, float64. Of shape 1/k, a gamma variable is below x with a probability near `x^(1/k)`: float32
 * would round many draws to 0, float64 (at k = 50) one in a million, where it adds nothing to the sum anyway.
 */
export function drawSumOfGamma(shape: Shape, generator: Generator, k: number, scale: GammaScale): Tensor {
  const y = standardGamma(full([terms, ...shape], 1 / k, float64), generator);
  return sumOfGamma(y, k, scale);
}
