/** Which steps of a chain a batch is trained on. A new rule is a line in `weightings`, or a class like `LossSecondMoment`. */
import { type Generator, rand, type Tensor, tensor, zeros } from "../../torch/index.js";

/** Steps and what each image's loss is multiplied with, so that the mean estimates the uniform average over steps. */
export interface SampledSteps {
  /** int64 `[B]` */
  readonly t: Tensor;
  /** `1 / (n p_t)`, float64 `[B]`; n is T, or the number of steps that are ever drawn. */
  readonly weights: Tensor;
}

export interface SampleStepsOptions {
  readonly generator: Generator;
  /** Which steps the weights' average is over: all of the `chain` (the default), or those that are ever `drawn`. */
  readonly averageOver?: "chain" | "drawn";
}

type Weighting = (betas: Float64Array) => Float64Array;

/** The density of Beta(a, b) up to its factor. */
function betaDensity(u: number, a: number, b: number): number {
  return u <= 0 || u >= 1 ? 0 : u ** (a - 1) * (1 - u) ** (b - 1);
}

/** Gamma(a + b) / (Gamma(a) Gamma(b)) of a = 4, b = 1.2: (3 + b)(2 + b)(1 + b) b / 3!. */
const BETA_4_12 = (4.2 * 3.2 * 2.2 * 1.2) / 6;

const weightings = {
  /** Every step alike. */
  uniform: (betas) => betas.map(() => 1),
  /** In proportion to beta_t, as DAED's appendix A.4 says. */
  "beta-proportional": (betas) => betas.map((beta) => beta),
  /** Step 0 `beta_0 T` times as often as every other, as DAED's code does. */
  "dae-uniform": (betas) => betas.map((beta, t) => (t === 0 ? beta * betas.length : 1)),
  /** Step 0 alone. */
  "only-dae": (betas) => betas.map((_, t) => (t === 0 ? 1 : 0)),
  /** Every step alike but step 0, which has none. */
  "without-first": (betas) => betas.map((_, t) => (t === 0 ? 0 : 1)),
  /** 1 + the density of Beta(4, 1.2) at t / T: late steps more often. */
  "beta-density": (betas) => betas.map((_, t) => 1 + BETA_4_12 * betaDensity(t / betas.length, 4, 1.2)),
} as const satisfies Record<string, Weighting>;

export const stepSamplings = [
  ...(Object.keys(weightings) as (keyof typeof weightings)[]),
  "loss-second-moment",
] as const;
export type StepSampling = (typeof stepSamplings)[number];

/** p_t of each step, from weights. */
export function stepProbabilities(weights: Float64Array): Float64Array {
  const total = weights.reduce((sum, w) => sum + w, 0);
  return weights.map((w) => w / total);
}

/** Draws steps, and may learn from their losses which to draw. */
export interface StepSampler {
  /** w_t, which p_t is in proportion to. */
  weights(): Float64Array;
  /** Takes note of the losses, not multiplied with anything, of steps that were drawn. */
  observe?(t: readonly number[], losses: readonly number[]): void;
  /** What a resumed training needs. */
  state?(): Record<string, Tensor>;
  restore?(state: ReadonlyMap<string, Tensor>): void;
}

/** The part of all draws that is uniform. */
const UNIFORM_PART = 0.001;

/**
 * In proportion to the root mean square of the last losses of each step, ten of them, once every step has as many; uniform until
 * then, and in one draw of a thousand (Nichol, Dhariwal, 2021).
 */
export class LossSecondMoment implements StepSampler {
  readonly #losses: Float64Array[];
  readonly #counts: Float64Array;
  readonly #history: number;

  /** `history`: losses of each step that count. */
  constructor(steps: number, { history = 10 }: { readonly history?: number } = {}) {
    this.#history = history;
    this.#losses = Array.from({ length: steps }, () => new Float64Array(history));
    this.#counts = new Float64Array(steps);
  }

  weights(): Float64Array {
    const history = this.#history;
    if (this.#counts.some((count) => count < history)) return this.#counts.map(() => 1);
    const roots = Float64Array.from(this.#losses, (losses) =>
      Math.sqrt(losses.reduce((sum, loss) => sum + loss * loss, 0) / history),
    );
    return stepProbabilities(roots).map((p) => p * (1 - UNIFORM_PART) + UNIFORM_PART / roots.length);
  }

  observe(t: readonly number[], losses: readonly number[]): void {
    for (const [i, step] of t.entries()) {
      const own = this.#losses[step];
      const count = this.#counts[step];
      const loss = losses[i];
      if (!own || count === undefined || loss === undefined)
        throw new RangeError(`expected steps 0 to ${this.#counts.length - 1} with a loss each, got ${step}`);
      if (count < this.#history) {
        own[count] = loss;
        this.#counts[step] = count + 1;
      } else {
        own.copyWithin(0, 1);
        own[this.#history - 1] = loss;
      }
    }
  }

  state(): Record<string, Tensor> {
    const float64 = { dtype: "float64" } as const;
    return {
      losses: tensor(
        this.#losses.map((losses) => Array.from(losses)),
        float64,
      ),
      counts: tensor(Array.from(this.#counts), float64),
    };
  }

  restore(state: ReadonlyMap<string, Tensor>): void {
    const losses = state.get("losses")?.toArray();
    const counts = state.get("counts")?.toArray();
    const history = this.#history;
    if (losses?.length !== history * this.#counts.length || counts?.length !== this.#counts.length)
      throw new Error(`expected the losses of ${this.#counts.length} steps in the checkpoint`);
    for (const [step, own] of this.#losses.entries())
      own.set(losses.slice(step * history, (step + 1) * history));
    this.#counts.set(counts);
  }
}

export function createStepSampler(sampling: StepSampling, betas: Float64Array): StepSampler {
  if (sampling === "loss-second-moment") return new LossSecondMoment(betas.length);
  const weights = weightings[sampling](betas);
  return { weights: () => weights };
}

/** Independent draws of `count` steps, by inverting the distribution function. */
export function sampleSteps(
  sampler: StepSampler,
  count: number,
  { generator, averageOver = "chain" }: SampleStepsOptions,
): SampledSteps {
  const p = stepProbabilities(sampler.weights());
  const upTo = new Float64Array(p.length);
  p.reduce((sum, each, t) => (upTo[t] = sum + each), 0);
  const uniform = rand([count], generator, { dtype: "float64" }).toArray();
  const last = p.findLastIndex((each) => each > 0);
  const n = averageOver === "chain" ? p.length : p.filter((each) => each > 0).length;
  const t = uniform.map((u) => Math.min(firstAbove(upTo, u), last));
  return {
    t: t.length > 0 ? tensor(t, { dtype: "int64" }) : zeros([0], { dtype: "int64" }),
    weights: tensor(
      t.map((step) => 1 / (n * (p[step] as number))),
      { dtype: "float64" },
    ),
  };
}

/** The first index whose value is above `u`. */
function firstAbove(increasing: Float64Array, u: number): number {
  let low = 0;
  let high = increasing.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((increasing[middle] as number) > u) high = middle;
    else low = middle + 1;
  }
  return low;
}
