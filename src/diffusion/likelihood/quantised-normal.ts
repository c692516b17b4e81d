/** The likelihood of 256-level pixels under a normal distribution, and the divergence of two of them (Ho et al., 2020). */
import { operator, type Tensor } from "../../torch/index.js";

const expm1 = operator("aten::expm1");
const clampBelow = operator("aten::clamp_min");

/** `Phi(z) = (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2`, within 4e-4 of the normal distribution function. */
export function approximateNormalCdf(z: Tensor): Tensor {
  return z
    .add(z.square().mul(z).mul(0.044715))
    .mul(Math.sqrt(2 / Math.PI))
    .tanh()
    .add(1)
    .mul(0.5);
}

/** The least probability that counts, 1e-12: -27.6 nats. */
const FLOOR = 1e-12;
/** Half the distance of two of 256 levels on [-1, 1]. */
const HALF = 1 / 255;

/**
 * `ln max(Phi((x - m + 1/255) / s) - Phi((x - m - 1/255) / s), 1e-12)` of each element, the whole tail for the first and
 * the last level (|x| > 0.999): nats, in float64, where the difference keeps six digits down to the floor.
 *
 * @param x on the grid `v / 127.5 - 1`; @param mean m, of x's shape; @param logScale `ln s`, broadcast
 */
export function quantisedNormalLogLikelihood(x: Tensor, mean: Tensor, logScale: Tensor): Tensor {
  const centred = x.to("float64").sub(mean.to("float64"));
  const precision = logScale.to("float64").neg().exp();
  const below = approximateNormalCdf(precision.mul(centred.add(HALF)));
  const above = approximateNormalCdf(precision.mul(centred.sub(HALF)));
  const last = x.neg().lt(-0.999);
  const probability = x.lt(-0.999).where(below, last.where(above.rsub(1), below.sub(above)));
  return (clampBelow(probability, FLOOR) as Tensor).log();
}

/**
 * `KL(N(m1, e^l1) || N(m2, e^l2)) = 1/2 (e^(l1-l2) - 1 - (l1 - l2) + (m1 - m2)^2 e^-l2)` of each element, nats.
 */
export function normalDivergence(m1: Tensor, l1: Tensor, m2: Tensor, l2: Tensor): Tensor {
  const d = l1.sub(l2);
  const ofMeans = m1.sub(m2).square().mul(l2.neg().exp());
  return (expm1(d) as Tensor).sub(d).add(ofMeans).mul(0.5);
}
