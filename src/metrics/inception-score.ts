/** The Inception score: how sure a classifier is of each image, and how many classes it sees in all. */
import { operator, scope, type Tensor } from "../torch/index.js";

const xlogy = operator("aten::xlogy.Tensor");

export interface InceptionScore {
  /** The mean over splits; from 1 to the number of classes. */
  readonly mean: number;
  /** The standard deviation of the splits' scores, divided by their number; 0 for one. */
  readonly deviation: number;
}

/**
 * `exp(E KL(p(y|x) | p(y))) = exp(H(E p) - E H(p))` of the rows of `probabilities` `[N, C]`, each the softmax of a
 * classifier's logits, for every `splitSize` of them in order; a shorter last split counts like the others. Float64;
 * 0 ln 0 is 0.
 *
 * Salimans et al. (2016), "Improved techniques for training GANs", section 4.
 */
export function inceptionScore(
  probabilities: Tensor,
  { splitSize = 5000 }: { readonly splitSize?: number } = {},
): InceptionScore {
  return scope(() => {
    const scores = probabilities.split(splitSize, 0).map((rows) =>
      scope(() => {
        const p = rows.to("float64");
        const information = entropy(p.mean([0])).sub(entropy(p).mean());
        return Math.exp(information.item());
      }),
    );
    const mean = average(scores);
    return { mean, deviation: Math.sqrt(average(scores.map((score) => (score - mean) ** 2))) };
  });
}

/** `-sum p ln p` over the last dimension, in nats. */
function entropy(p: Tensor): Tensor {
  return xlogy(p, p).sum([-1]).neg();
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
