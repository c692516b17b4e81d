/** AdamW with the moving average of the weights, clipping and the learning rate's course, as one object. */
import { call, clearGradients, noGrad, type Tensor, zerosLike } from "../torch/index.js";
import { FusedUpdate, gradientNorm } from "./fused-update.js";
import { companions, type Parameter } from "./module.js";

/** AdamW of Loshchilov and Hutter (2019; arXiv 1711.05101): `p -= rate (m_hat / (sqrt(v_hat) + epsilon) + weightDecay p)`. */
export interface AdamWOptions {
  /** That of the steps between warm-up and decay, above 0. */
  readonly learningRate: number;
  /** Rates at which the means of the gradient (m) and of its square (v) keep what they had, in [0, 1). */
  readonly betas: readonly [number, number];
  /** What is added to `sqrt(v_hat)`, above 0. */
  readonly epsilon: number;
  /** Times the rate, the share of a weight that a step takes away, at least 0; only of parameters that decay. */
  readonly weightDecay: number;
  /** Steps of linear warm-up: step k = 0, 1, ... uses `learningRate * min(k, warmup) / warmup`. */
  readonly warmupSteps: number;
  /** After warm-up: constant, falling to 0 at `totalSteps`, or by steps. */
  readonly decay: "constant" | "linear" | "cosine" | "steps";
  /** Of the decay by steps: `learningRate * decayFactor^floor(k / decayEvery)`. */
  readonly decayEvery?: number | null;
  /** In (0, 1]. */
  readonly decayFactor?: number;
  /** Where a linear or cosine decay arrives at 0. */
  readonly totalSteps: number;
  /** Largest global norm of the gradient; null for none. */
  readonly clipNorm: number | null;
  /** `ema += (1 - rate) (p - ema)` after each step. */
  readonly emaRate: number;
  /** With `ramp` the n-th update, n = 1, 2, ..., uses `min(emaRate, (1 + n) / (10 + n))`; default `none`. */
  readonly emaRamp?: "none" | "ramp";
}

/**
 * The rate used at optimiser step `k` = 0, 1, ...
 * @throws Error for a decay by steps without `decayEvery` and `decayFactor`
 */
export function learningRateAt(
  k: number,
  o: Pick<
    AdamWOptions,
    "learningRate" | "warmupSteps" | "decay" | "decayEvery" | "decayFactor" | "totalSteps"
  >,
): number {
  if (k < o.warmupSteps) return (o.learningRate * k) / o.warmupSteps;
  const progress = Math.min(1, (k - o.warmupSteps) / Math.max(1, o.totalSteps - o.warmupSteps));
  switch (o.decay) {
    case "constant":
      return o.learningRate;
    case "linear":
      return o.learningRate * (1 - progress);
    case "cosine":
      return (o.learningRate * (1 + Math.cos(Math.PI * progress))) / 2;
    case "steps":
      if (!o.decayEvery || o.decayFactor === undefined)
        throw new Error("expected decayEvery and decayFactor beside a decay by steps");
      return o.learningRate * o.decayFactor ** Math.floor(k / o.decayEvery);
    default:
      return o.decay satisfies never;
  }
}

/** The rate of the moving average at update `n` = 1, 2, ... */
export function emaRateAt(n: number, o: Pick<AdamWOptions, "emaRate" | "emaRamp">): number {
  return o.emaRamp === "ramp" ? Math.min(o.emaRate, (1 + n) / (10 + n)) : o.emaRate;
}

/** Parameters, by their places, that share a factor of the learning rate and the step at which they began. */
interface Group {
  readonly factor: number;
  readonly begun: number;
  readonly members: number[];
}

/**
 * AdamW (decoupled weight decay on every parameter but biases) and the exponential moving average of the parameters.
 *
 *   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
 *   p -= lr (m / (1 - b1^k) / (sqrt(v / (1 - b2^k)) + eps) + weightDecay p),  ema += (1 - rate) (p - ema)
 *
 * The average starts at the initial parameters, without debiasing, and without warm-up unless there is an `emaRamp`. A
 * parameter begins with its first gradient: until then it stays as it is, and k counts from there (a network that few
 * batches call).
 */
export class AdamW {
  readonly parameters: readonly Parameter[];
  readonly options: AdamWOptions;
  readonly first: Tensor[];
  readonly second: Tensor[];
  readonly average: Tensor[];
  /** Steps taken. */
  count = 0;
  /** Steps that were taken before each parameter's first gradient; NaN while there was none. */
  readonly begun: number[];
  readonly #factors: readonly number[];
  #fused: FusedUpdate | undefined;

  /** `factors`: of each parameter's learning rate, 1 where absent. */
  constructor(parameters: readonly Parameter[], options: AdamWOptions, factors: readonly number[] = []) {
    this.parameters = parameters;
    this.options = options;
    this.begun = parameters.map(() => Number.NaN);
    this.#factors = parameters.map((_, i) => factors[i] ?? 1);
    this.first = noGrad(() => parameters.map((p) => zerosLike(p.value).keep()));
    this.second = noGrad(() => parameters.map((p) => zerosLike(p.value).keep()));
    this.average = companions(parameters);
    noGrad(() =>
      this.average.forEach((average, i) => {
        average.copy_((parameters[i] as Parameter).value);
      }),
    );
  }

  /** The rate that the next `step` uses. */
  get learningRate(): number {
    return learningRateAt(this.count, this.options);
  }

  /**
   * Applies the accumulated gradients and forgets them. Parameters that have begun and have no gradient count as gradient
   * 0; those that require none (frozen ones) stay exactly as they are.
   */
  step(): { readonly learningRate: number } {
    const learningRate = this.prepare();
    this.apply();
    return { learningRate };
  }

  /**
   * From now on libtorch's fused kernels do the update, and what changes from step to step lies on the device: `apply` can
   * be part of a CUDA graph.
   * @throws UserError where libtorch has none (before 2.4), or with an `emaRamp`
   */
  fuse(): void {
    this.#fused ??= new FusedUpdate(this, this.#factors);
  }

  /** The host's part of a step: counts it. Returns its learning rate. */
  prepare(): number {
    const { learningRate } = this;
    this.#fused?.prepare(learningRate);
    this.count += 1;
    return learningRate;
  }

  /** The device's part of the step that was prepared. */
  apply(): void {
    for (const [i, { value }] of this.parameters.entries())
      if (Number.isNaN(this.begun[i]) && value.grad) this.begun[i] = this.count - 1;
    noGrad(() => {
      if (this.#fused) this.#fused.apply();
      else this.#update();
      clearGradients(this.parameters.map((p) => p.value));
    });
  }

  #update(): void {
    const { betas, epsilon, weightDecay, clipNorm } = this.options;
    const emaRate = emaRateAt(this.count, this.options);
    const values = this.parameters.map((p) => p.value);
    const gradients = values.map((value) => value.grad ?? zerosLike(value));
    const scale = clipNorm === null ? 1 : Math.min(1, clipNorm / (globalNorm(gradients) + 1e-12));
    const decays = this.parameters.map((p) => (p.decay && p.value.requiresGrad ? weightDecay : 0));
    for (const { factor, begun, members } of this.#groups()) {
      const of = <T>(all: readonly T[]): T[] => members.map((i) => all[i] as T);
      call(
        "varidiff::adamw_",
        of(values),
        of(gradients),
        of(this.first),
        of(this.second),
        of(this.average),
        of(decays),
        this.count - begun,
        learningRateAt(this.count - 1, this.options) * factor,
        betas[0],
        betas[1],
        epsilon,
        emaRate,
        scale,
      );
    }
  }

  /** The parameters that have begun, by what the kernel is told of them. */
  #groups(): readonly Group[] {
    const groups = new Map<string, Group>();
    for (const [i, begun] of this.begun.entries()) {
      if (Number.isNaN(begun)) continue;
      const factor = this.#factors[i] as number;
      const key = `${factor} ${begun}`;
      const group = groups.get(key) ?? { factor, begun, members: [] };
      group.members.push(i);
      groups.set(key, group);
    }
    return [...groups.values()];
  }

  /** Puts the averaged weights in the parameters' place until the function it returns is called. */
  useAverage(): () => void {
    const originals = this.parameters.map((parameter, i) => parameter.swap(this.average[i] as Tensor));
    return () => {
      this.parameters.forEach((parameter, i) => {
        parameter.swap(originals[i] as Tensor);
      });
    };
  }

  /** Runs with the averaged weights, without gradients. */
  averaged<R>(run: () => R): R {
    const restore = this.useAverage();
    try {
      return noGrad(run);
    } finally {
      restore();
    }
  }

  dispose(): void {
    for (const tensor of [...this.first, ...this.second, ...this.average]) tensor.dispose();
    this.#fused?.dispose();
  }
}

/** The L2 norm of all gradients together. */
export function globalNorm(gradients: readonly Tensor[]): number {
  return gradientNorm(gradients).item(); // one wait for the device, not one a parameter
}
