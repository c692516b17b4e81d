/** Divergences of a latent's law from its prior, nats per image. */
import type { Tensor } from "../../torch/index.js";

/** `KL(softmax(l) || uniform) = sum_i q_i (log q_i + log m)` of logits `[B, m]`, `[B]`. */
export function categoricalDivergence(logits: Tensor): Tensor {
  const logQ = logits.to("float64").logSoftmax(-1);
  return logQ
    .exp()
    .mul(logQ.add(Math.log(logits.dim(-1))))
    .sum([-1]);
}

/** `KL(N(mean, variance) || N(0, I)) = 1/2 sum_i mean^2 + variance - log variance - 1`, `[B]`. */
export function gaussianDivergence(mean: Tensor, variance: Tensor): Tensor {
  const v = variance.to("float64");
  return mean.to("float64").square().add(v).sub(v.log()).sub(1).sum([-1]).mul(0.5);
}

/** `log C(m, k)`: the most that a law of k-subsets of m can differ from the uniform one, reached by a single subset. */
export function logSubsets(m: number, k: number): number {
  let log = 0;
  for (let i = 1; i <= k; i++) log += Math.log((m - k + i) / i);
  return log;
}
