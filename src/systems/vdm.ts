/** VDM: Variational Diffusion Models (Kingma, Salimans, Poole, Ho, 2021; equation numbers of arXiv 2107.00630v6). */
import type { Denoiser, Pass } from "../diffusion/denoiser.js";
import { NoiseLevel, perImage, Transition } from "../diffusion/level.js";
import { type Bound, perExample, priorDivergence } from "../diffusion/likelihood/bound.js";
import { encodePixels } from "../diffusion/likelihood/discretised.js";
import type { ProbabilityFlow } from "../diffusion/likelihood/flow.js";
import { errorWeight, predictionTarget } from "../diffusion/prediction.js";
import { thresholded } from "../diffusion/sampler/index.js";
import type { NoiseSchedule, ScheduleValue } from "../diffusion/schedule/index.js";
import type {
  Batch,
  CapturableModel,
  FlowContext,
  FlowLikelihood,
  GivenFlow,
  Objective,
  SharedSchedule,
  StepContext,
  StepInputs,
} from "../diffusion/system.js";
import { discretiseTimes } from "../diffusion/times.js";
import type { Parameter } from "../nn/index.js";
import { backward, grad, randn, type Streams, type Tensor } from "../torch/index.js";
import {
  type EvaluationOptions,
  GaussianDiffusion,
  type GaussianDraws,
  type GaussianOptions,
  type GaussianState,
} from "./gaussian.js";

export interface VdmOptions extends GaussianOptions {
  readonly schedule: NoiseSchedule;
  readonly denoiser: Denoiser;
  /**
   * `bound`: all parameters follow the gradient of the bound (the official code). `minimum-variance`: those inside the
   * schedule follow that of the variance of its estimate instead (section 5.3; needs a `monotone-paper` schedule).
   */
  readonly scheduleGradient?: "bound" | "minimum-variance";
}

/** One evaluation of the bound, with what it was computed from. */
export interface VdmEvaluation {
  /** Nats per image. */
  readonly bound: Bound;
  /** gamma(t), `[B]`. */
  readonly gamma: Tensor;
  /** `[B, C, H, W]` */
  readonly zt: Tensor;
  /** The denoiser's output, `[B, C, H, W]`. */
  readonly out: Tensor;
  /** Squared error of the output as a prediction of eps, `[B]`. */
  readonly epsError: Tensor;
}

/** What the minimum-variance update needs of the step's graph. */
interface Leaves {
  readonly t: Tensor;
  readonly value: ScheduleValue;
  readonly diffusionBits: Tensor;
}

/**
 * Images are noised by one schedule, `q(z_t | x) = N(alpha_t f, sigma_t^2 I)` with f the pixels on [-1, 1] (eq. 1), and led back by
 * `p(z_s | z_t) = q(z_s | z_t, x = x_hat(z_t, t))` (eq. 9). Trained on the bound (eq. 11), in bits per dimension of `[C, H, W]`:
 *
 *   -log p(x) <= E[-log p(x | z_0)] + KL(q(z_1 | x) || N(0, I)) + 1/2 E_{t, eps}[gamma'(t) ||eps - eps_hat(z_t, t)||^2]   (eq. 17)
 *
 * or with T steps, `T/2 E[(exp(gamma_t - gamma_s) - 1) ||eps - eps_hat||^2]` for the last (eq. 14). The denoiser maps z_t `[B, C, H, W]` and
 * gamma_t `[B]` to a prediction `[B, C, H, W]`.
 */
export class VDM extends GaussianDiffusion implements SharedSchedule, FlowLikelihood, CapturableModel {
  readonly schedule: NoiseSchedule;
  readonly denoiser: Denoiser;
  readonly #scheduleGradient: "bound" | "minimum-variance";
  readonly #leaves = new WeakMap<Objective, Leaves>();

  /** @throws Error for `minimum-variance` in discrete time, or with a schedule other than `monotone-paper` */
  constructor(options: VdmOptions) {
    super(options);
    this.schedule = options.schedule;
    this.denoiser = options.denoiser;
    this.#scheduleGradient = options.scheduleGradient ?? "bound";
    if (this.#scheduleGradient === "minimum-variance") {
      if (!this.schedule.split())
        throw new Error(
          "expected a schedule whose end points are separate parameters (monotone-paper) for minimum-variance gradients",
        );
      if (this.steps !== 0)
        throw new Error(
          `expected continuous time (steps: 0) for minimum-variance gradients, got steps: ${this.steps}`,
        );
    }
  }

  /** The three terms of the bound at given draws (eq. 11-17). */
  evaluate(
    x: Tensor,
    draws: GaussianDraws,
    o: EvaluationOptions & { readonly at?: ScheduleValue },
  ): VdmEvaluation {
    const { eps, eps0 } = draws;
    const steps = o.steps ?? this.steps;
    const f = encodePixels(x, this.levels);
    const { gamma0, gamma1 } = this.schedule.ends(x.device);

    // 1. Reconstruction: -log p(x | z_0)
    const reconstruction = this.reconstruction(x, f, gamma0, eps0, { largest: this.schedule.start });

    // 2. Prior: KL(q(z_1 | x) || N(0, I))
    const prior = priorDivergence(f, gamma1);

    // 3. Diffusion: 1/2 gamma'(t) ||eps - eps_hat||^2 (eq. 17), or T/2 (exp(gamma_t - gamma_s) - 1) ||eps - eps_hat||^2 (eq. 14)
    const chain = steps > 0 ? discretiseTimes(draws.t, steps) : undefined;
    const { gamma, dGamma } = o.at ?? this.schedule.at(chain ? chain.t : draws.t);
    const level = new NoiseLevel(perImage(gamma, f.rank), f.dtype);
    const zt = level.diffuse(f, eps);
    const out = this.denoiser.forward(zt, gamma, this.condition(f, undefined, o.condition), o.pass);
    const error = perExample(predictionTarget(this.prediction, f, eps, level).sub(out).square()).to(
      gamma.dtype,
    );
    const epsError = error.mul(errorWeight(this.prediction, new NoiseLevel(gamma)));
    const rate = chain
      ? new Transition(
          new NoiseLevel(this.schedule.at(chain.s).gamma),
          new NoiseLevel(gamma),
        ).snrRatioMinusOne.mul(steps)
      : dGamma;
    const diffusion = rate.mul(epsError).mul(0.5);

    return { bound: { reconstruction, prior, diffusion }, gamma, zt, out, epsError };
  }

  /** `z_t = alpha_t f + sigma_t eps` (eq. 1); the same streams give the same noise at every time. */
  noised(batch: Batch, t: Tensor, streams: Streams): Tensor {
    const f = this.encode(batch.pixels);
    const eps = randn(f.shape, streams.generator("noise"), { dtype: f.dtype }).toDevice(f.device);
    return this.levelsAt(t, f, this.schedule).level.diffuse(f, eps);
  }

  stepInputs({ pixels, condition }: Batch, { streams }: StepContext): StepInputs {
    const x = this.float(pixels);
    return { x, ...this.draw(x, streams), ...(condition ? { condition } : {}) };
  }

  objectiveOf({ x, t, eps, eps0, condition }: StepInputs, pass: Pass): Objective {
    if (!x || !t || !eps || !eps0)
      throw new Error("expected the inputs of a step by the names x, t, eps, eps0");
    return this.objectiveAt(x, { t, eps, eps0 }, { pass, condition });
  }

  override objectiveAt(x: Tensor, draws: GaussianDraws, options: EvaluationOptions): Objective {
    if (this.#scheduleGradient === "bound") return super.objectiveAt(x, draws, options);
    const at = this.#scheduleLeaves(draws.t);
    const objective = this.bits(this.evaluate(x, draws, { ...options, at }).bound, draws.t);
    const { t, terms } = objective;
    this.#leaves.set(objective, { t, value: at, diffusionBits: terms.diffusion as Tensor });
    return objective;
  }

  /** The probability flow (Song et al., 2021), from which the likelihood follows without a bound. */
  flow(batch: Batch, { pass }: FlowContext): GivenFlow {
    const { gamma0 } = this.schedule.ends(batch.pixels.device);
    const condition = this.condition(batch.pixels, undefined, batch.condition);
    return { flow: this.flowAlong(this.schedule, condition, pass), gamma0 };
  }

  flowOf(state: GaussianState): ProbabilityFlow {
    return this.sampleFlow(state);
  }

  protected curve(): NoiseSchedule {
    return this.schedule;
  }

  protected draw(x: Tensor, streams: Streams): GaussianDraws {
    return this.drawNoise(x, streams);
  }

  /** The official v model thresholds z as well as the predicted image. */
  protected override thresholdedLatent(z: Tensor, percentile: number): Tensor {
    return this.prediction === "v" ? thresholded(z, percentile) : z;
  }

  backward(objective: Objective): void {
    objective.loss.backward();
    const leaves = this.#leaves.get(objective);
    if (leaves) this.#minimumVarianceGradient(leaves);
  }

  /** gamma(t) and gamma'(t) cut from the schedule, so that the loss's gradient in them can be read off. */
  #scheduleLeaves(t: Tensor): ScheduleValue {
    const { gamma, dGamma } = this.schedule.at(t);
    return { gamma: gamma.detach().requireGrad(), dGamma: dGamma.detach().requireGrad() };
  }

  /**
   * Section 5.3 and appendix I.2: E[L] does not depend on the inside of the schedule, so that follows E[L^2], the end
   * points the bound itself. With a_i = dE[L]/dgamma_i and b_i = dE[L]/dgamma'_i from the pass already made:
   *   inside:  grad of sum_i 2 L_i (a_i gamma(t_i) + b_i gamma'(t_i)),  ends:  grad of sum_i (a_i gamma(t_i) + b_i gamma'(t_i))
   */
  #minimumVarianceGradient({ t, value, diffusionBits }: Leaves): void {
    const split = this.schedule.split();
    const a = value.gamma.grad;
    const b = value.dGamma.grad;
    if (!split || !a || !b) throw new Error("expected the gradient of the loss in gamma(t) and gamma'(t)");
    const { gamma, dGamma } = this.schedule.at(t);
    const chained = a.mul(gamma).add(b.mul(dGamma));
    accumulate(split.interior, chained.mul(diffusionBits.detach().mul(2)).sum());
    accumulate(split.ends, chained.sum());
  }
}

/** Adds d(surrogate)/d(parameter) to what each parameter has accumulated. */
function accumulate(parameters: readonly Parameter[], surrogate: Tensor): void {
  const values = parameters.map((parameter) => parameter.value);
  const gradients = grad([surrogate], values, { retainGraph: true });
  const roots = values.flatMap((value, i) => {
    const gradient = gradients[i];
    return gradient ? [value.mul(gradient).sum()] : [];
  });
  backward(roots);
}
