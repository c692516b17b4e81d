/** Precision and recall for distributions: the curve of what two sets of features have in common. */
import {
  cat,
  type Generator,
  linspace,
  operator,
  randperm,
  scope,
  stack,
  type Tensor,
} from "../torch/index.js";
import { kMeans } from "./k-means.js";

const tan = operator("aten::tan");
const bincount = operator("aten::bincount");

/** Keeps the angles off 0 and pi/2, and F off 0/0. */
const epsilon = 1e-10;

/** What precision and recall may exceed 1 by through rounding. */
const excess = 1e-3;

/** Precision and recall at each angle, `[A]`, float64, in [0, 1]. */
export interface PrdCurve {
  readonly precision: Tensor;
  readonly recall: Tensor;
}

/** The largest F_beta on a curve, `(1 + b^2) p r / (b^2 p + r)`, in [0, 1]. */
export interface PrdScores {
  /** b = 8, which weighs recall the most: a summary of the recall of what is evaluated. */
  readonly f8: number;
  /** b = 1/8, which weighs precision the most: a summary of its precision. */
  readonly fEighth: number;
}

/** The parts of two sets in each cluster, `[K]`, float64, each of sum 1. */
export interface ClusterHistograms {
  readonly evaluated: Tensor;
  readonly reference: Tensor;
}

export interface PrdOptions {
  /** Clusters of one clustering; default 20. */
  readonly clusters?: number;
  /** Clusterings whose curves are averaged; default 10. */
  readonly clusterings?: number;
  /** Points of the curve; default 1001. */
  readonly angles?: number;
  /** On the CPU, whatever the device of the features. */
  readonly generator: Generator;
}

/**
 * Precision and recall of the generated images' features `[N, F]` (`evaluated`) with respect to the real ones'
 * `[M, F]` (`reference`): the mean curve of several clusterings, and its scores. Swapped arguments swap precision with
 * recall, hence f8 with fEighth: code that evaluates the real set against the generated one calls F_8 precision. The
 * larger set is reduced to the size of the smaller one, at random, since sizes that differ pull clusters towards one
 * of them.
 *
 * Sajjadi et al. (2018), "Assessing generative models via precision and recall".
 */
export function prd(evaluated: Tensor, reference: Tensor, options: PrdOptions): PrdCurve & PrdScores {
  const { clusters = 20, clusterings = 10, angles = 1001, generator } = options;
  return scope(() => {
    const size = Math.min(evaluated.dim(0), reference.dim(0));
    const sets = [evaluated, reference].map((set) => subset(set, size, generator)) as [Tensor, Tensor];
    const curves = Array.from({ length: clusterings }, () =>
      scope(() => {
        const histograms = clusterHistograms(...sets, { clusters, generator });
        return prdCurve(histograms.evaluated, histograms.reference, { angles });
      }),
    );
    const curve = {
      precision: stack(curves.map(({ precision }) => precision)).mean([0]),
      recall: stack(curves.map(({ recall }) => recall)).mean([0]),
    };
    return { ...curve, ...prdScores(curve) };
  });
}

/** `size` rows drawn without replacement; all of them, in order, where there are no more. */
function subset(features: Tensor, size: number, generator: Generator): Tensor {
  const count = features.dim(0);
  if (count === size) return features;
  const rows = randperm(count, generator).narrow(0, 0, size);
  return features.indexSelect(0, rows.toDevice(features.device));
}

/**
 * How two sets of features, `[N, F]` and `[M, F]`, are spread over the clusters of their union. Full Lloyd iterations
 * from one k-means++ seeding stand in for the mini-batches from the best of ten of the authors' code.
 */
export function clusterHistograms(
  evaluated: Tensor,
  reference: Tensor,
  { clusters = 20, generator }: { readonly clusters?: number; readonly generator: Generator },
): ClusterHistograms {
  return scope(() => {
    const labels = kMeans(cat([evaluated, reference]), { clusters, generator });
    const histogram = (start: number, count: number) =>
      bincount(labels.narrow(0, start, count), undefined, clusters)
        .to("float64")
        .div(count);
    const count = evaluated.dim(0);
    return { evaluated: histogram(0, count), reference: histogram(count, reference.dim(0)) };
  });
}

/**
 * The curve of two histograms `[K]` of sum 1: at the slopes `l = tan(angle)` of evenly spaced angles in (0, pi/2),
 * `precision(l) = sum_i min(l Q_i, P_i)` and `recall(l) = precision(l) / l`, with P of the evaluated and Q of the
 * reference set. Sajjadi et al. (2018), equation 7 and algorithm 1.
 * @throws Error where one exceeds 1 by more than rounding does: a histogram whose sum is above 1
 */
export function prdCurve(
  evaluated: Tensor,
  reference: Tensor,
  { angles = 1001 }: { readonly angles?: number } = {},
): PrdCurve {
  return scope(() => {
    const options = { dtype: "float64", device: evaluated.device } as const;
    const slopes = tan(linspace(epsilon, Math.PI / 2 - epsilon, angles, options));
    const [p, q] = [evaluated.to("float64"), reference.to("float64")];
    const precision = slopes.unsqueeze(1).mul(q).minimum(p).sum([1]);
    const recall = precision.div(slopes);
    const largest = precision.maximum(recall).max().item();
    if (!(largest <= 1 + excess))
      throw new Error(`expected histograms of sum 1, got a precision of ${largest}`);
    return { precision: precision.clamp(0, 1), recall: recall.clamp(0, 1) };
  });
}

/** The scores of a curve. */
export function prdScores({ precision, recall }: PrdCurve): PrdScores {
  const best = (beta: number) =>
    scope(() => {
      const weight = beta ** 2;
      const mean = precision.mul(weight).add(recall).add(epsilon);
      return precision
        .mul(recall)
        .mul(1 + weight)
        .div(mean)
        .max()
        .item();
    });
  return { f8: best(8), fEighth: best(1 / 8) };
}
