/** What samples are worth: numbers of their features beside those of real images. */
import { type FeatureNetwork, type Features, labelled } from "../metrics/features/index.js";
import {
  fitGaussian,
  frechetDistance,
  type GaussianFit,
  inceptionScore,
  prd,
  precisionRecall,
} from "../metrics/index.js";
import { randint, type Streams, scope, type Tensor } from "../torch/index.js";
import type { Reference } from "./image-features.js";
import { binomialError } from "./measure-accuracy.js";
import type { QualityPart } from "./quality-settings.js";

/** A number with what it would vary by on other samples of the same model. */
export interface Score {
  /** With the network that it was made with, unless that is the one of the definition. */
  readonly label: string;
  readonly value: number;
  /** Null where it was not estimated. */
  readonly standardError: number | null;
}

/** By the key that a document has them under. */
export type Scores = Readonly<Record<string, Score>>;

/** Samples drawn anew with replacement; fewer where a resample takes seconds. */
const resamplesOf = (size: number) => (size <= 512 ? 20 : 5);
/** Of the clusterings, and clusterings of each. */
const prdResamples = { resamples: 5, clusterings: 3 };

export interface JudgeOptions {
  readonly network: FeatureNetwork;
  readonly streams: Streams;
  readonly errors: "estimated" | "none";
}

type Judge = (generated: Features, reference: Reference, options: JudgeOptions) => Scores;

const judges: Readonly<Record<QualityPart, Judge>> = {
  fid: (generated, reference, o) => ({
    fid: frechet("FID", generated.pool, reference.pool, o),
  }),
  // Nash et al. (2021), section 5: the same distance between features that know their place.
  sfid: ({ spatial }, reference, o): Scores =>
    spatial && reference.spatial ? { sfid: frechet("sFID", spatial, reference.spatial, o) } : {},
  is: ({ probabilities }, _reference, o): Scores =>
    probabilities ? { inceptionScore: classScore(probabilities, o) } : {},
  "precision-recall": manifolds,
  prd: distributions,
};

/** The numbers of `parts`; those that the network has no features for are left out. */
export function judge(
  parts: readonly QualityPart[],
  generated: Features,
  o: JudgeOptions & { readonly reference: Reference },
): Scores {
  return Object.assign({}, ...parts.map((part) => judges[part](generated, o.reference, o)));
}

function frechet(metric: string, features: Tensor, reference: GaussianFit, o: JudgeOptions): Score {
  const distance = (rows: Tensor) => scope(() => frechetDistance(fitGaussian(rows), reference));
  return {
    label: labelled(metric, o.network, features.dim(1)),
    value: distance(features),
    standardError: deviation(features, resamplesOf(features.dim(1)), distance, { ...o, name: metric }),
  };
}

/** Over splits of 5000, as published, where there are several; else over resamples. */
function classScore(probabilities: Tensor, o: JudgeOptions): Score {
  const { mean, deviation: overSplits } = inceptionScore(probabilities);
  const resampled = () =>
    deviation(probabilities, resamplesOf(1), (rows) => inceptionScore(rows).mean, { ...o, name: "IS" });
  const splits = Math.ceil(probabilities.dim(0) / 5000);
  return {
    label: labelled("Inception score", o.network, probabilities.dim(1)).replace("features", "classes"),
    value: mean,
    standardError: splits > 1 ? overSplits / Math.sqrt(splits - 1) : resampled(),
  };
}

/** Sets of one size, as in the paper: a larger one has a larger manifold. */
function manifolds({ pool }: Features, { points }: Reference, o: JudgeOptions): Scores {
  const size = Math.min(pool.dim(0), points.dim(0));
  const { precision, recall } = scope(() =>
    precisionRecall(points.narrow(0, 0, size), pool.narrow(0, 0, size)),
  );
  const score = (metric: string, value: number): Score => ({
    label: labelled(metric, o.network, pool.dim(1)),
    value,
    standardError: o.errors === "none" ? null : binomialError(value, size),
  });
  return { precision: score("precision", precision), recall: score("recall", recall) };
}

function distributions({ pool }: Features, { points }: Reference, o: JudgeOptions): Scores {
  const generator = o.streams.generator("prd");
  const f8: number[] = [];
  const scores = (rows: Tensor, clusterings: number) =>
    scope(() => {
      const { f8, fEighth } = prd(rows, points, { generator, clusterings });
      return { f8, fEighth };
    });
  const { resamples, clusterings } = prdResamples;
  const value = scores(pool, 10);
  const fEighth: number[] = [];
  if (o.errors === "estimated")
    for (const rows of resampled(pool, resamples, { ...o, name: "PRD" })) {
      const one = scores(rows, clusterings);
      rows.dispose();
      f8.push(one.f8);
      fEighth.push(one.fEighth);
    }
  const score = (metric: string, mean: number, values: readonly number[]): Score => ({
    label: labelled(metric, o.network, pool.dim(1)),
    value: mean,
    standardError: values.length > 1 ? spread(values) : null,
  });
  return {
    prdF8: score("PRD F_8 (recall)", value.f8, f8),
    prdFEighth: score("PRD F_1/8 (precision)", value.fEighth, fEighth),
  };
}

type Drawing = JudgeOptions & { readonly name: string };

/** Rows drawn with replacement, once for each resample; whoever asks disposes of them. */
function* resampled(rows: Tensor, resamples: number, { streams, name }: Drawing): Generator<Tensor> {
  const count = rows.dim(0);
  for (let i = 0; i < resamples; i++)
    yield scope(() =>
      rows.indexSelect(0, randint(0, count, [count], streams.at(i).generator(`bootstrap ${name}`))),
    );
}

/** The standard deviation of `measure` over resamples (the bootstrap's standard error); null where errors are not asked for. */
function deviation(
  rows: Tensor,
  resamples: number,
  measure: (rows: Tensor) => number,
  o: Drawing,
): number | null {
  if (o.errors === "none") return null;
  const values: number[] = [];
  for (const drawn of resampled(rows, resamples, o)) {
    values.push(measure(drawn));
    drawn.dispose();
  }
  return spread(values);
}

function spread(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1));
}
