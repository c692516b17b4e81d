/** VDM: Variational Diffusion Models (Kingma, Salimans, Poole, Ho, 2021; equation numbers of arXiv 2107.00630v6). */
import type { Denoiser, Pass } from "../diffusion/denoiser.js";
import { NoiseLevel, perImage, Transition } from "../diffusion/level.js";
import {
  type Bound,
  bitsPerDim,
  perExample,
  priorDivergence,
  totalBound,
} from "../diffusion/likelihood/bound.js";
import { decodePixels, encodePixels, pixelLogLikelihood } from "../diffusion/likelihood/discretised.js";
import {
  convertPrediction,
  errorWeight,
  type PredictionKind,
  predictionTarget,
} from "../diffusion/prediction.js";
import { type GaussianSampler, samplerNamed } from "../diffusion/sampler/index.js";
import type { NoiseSchedule, ScheduleValue } from "../diffusion/schedule/index.js";
import type {
  Batch,
  BoundContext,
  BoundedLikelihood,
  DiffusionSystem,
  ForwardView,
  Objective,
  PerTimeLoss,
  SampleRequest,
  SampleView,
  SharedSchedule,
  StepContext,
} from "../diffusion/system.js";
import { discretiseTimes, sampleTimes, type TimeSampling } from "../diffusion/times.js";
import { Module, type Parameter } from "../nn/index.js";
import { backward, full, grad, randn, type Shape, type Streams, type Tensor, zeros } from "../torch/index.js";

export interface VdmOptions {
  /** `[C, H, W]` of an image, `[D]` of a point. */
  readonly shape: Shape;
  readonly schedule: NoiseSchedule;
  readonly denoiser: Denoiser;
  /** What the denoiser's output means. Default `eps`. */
  readonly prediction?: PredictionKind;
  /** T of the training objective; 0, the default, is continuous time. */
  readonly steps?: number;
  /** Default `low-discrepancy`. */
  readonly times?: TimeSampling;
  /** V, values of a pixel. Default 256. */
  readonly levels?: number;
  /**
   * `bound`: all parameters follow the gradient of the bound (the official code). `minimum-variance`: those inside the
   * schedule follow that of the variance of its estimate instead (section 5.3; needs a `monotone-paper` schedule).
   */
  readonly scheduleGradient?: "bound" | "minimum-variance";
}

/** Every draw that one evaluation of the bound needs. */
export interface VdmDraws {
  /** Times in [0, 1), `[B]`, float64. */
  readonly t: Tensor;
  /** Noise of z_t. */
  readonly eps: Tensor;
  /** Noise of z_0, independent of `eps`. */
  readonly eps0: Tensor;
}

/** One evaluation of the bound, with what it was computed from. */
export interface VdmEvaluation {
  /** Nats per image. */
  readonly bound: Bound;
  /** gamma(t), `[B]`. */
  readonly gamma: Tensor;
  readonly zt: Tensor;
  /** The denoiser's output. */
  readonly out: Tensor;
  /** Squared error of the output as a prediction of eps, `[B]`. */
  readonly epsError: Tensor;
}

interface VdmState extends SampleView {
  readonly request: SampleRequest;
  readonly sampler: GaussianSampler;
}

/** What the minimum-variance update needs of the step's graph. */
interface Leaves {
  readonly t: Tensor;
  readonly value: ScheduleValue;
  readonly diffusionBits: Tensor;
}

export class VDM
  extends Module
  implements DiffusionSystem<VdmState>, BoundedLikelihood, PerTimeLoss, ForwardView, SharedSchedule
{
  readonly schedule: NoiseSchedule;
  readonly denoiser: Denoiser;
  readonly #options: Required<VdmOptions>;
  readonly #leaves = new WeakMap<Objective, Leaves>();

  constructor(options: VdmOptions) {
    super();
    this.schedule = options.schedule;
    this.denoiser = options.denoiser;
    this.#options = {
      prediction: "eps",
      steps: 0,
      times: "low-discrepancy",
      levels: 256,
      scheduleGradient: "bound",
      ...options,
    };
    if (this.#options.scheduleGradient === "minimum-variance") {
      if (!this.schedule.split())
        throw new Error(
          "expected a schedule whose end points are separate parameters (monotone-paper) for minimum-variance gradients",
        );
      if (this.#options.steps !== 0)
        throw new Error(
          `expected continuous time (steps: 0) for minimum-variance gradients, got steps: ${this.#options.steps}`,
        );
    }
  }

  get shape(): Shape {
    return this.#options.shape;
  }
  /** D, the dimensions that bits are counted by. */
  get dimensions(): number {
    return this.shape.reduce((product, n) => product * n, 1);
  }

  encode(pixels: Tensor): Tensor {
    const { dtype } = this.#parameterLike();
    return encodePixels(pixels.to(dtype), this.#options.levels);
  }

  decode(z0: Tensor): Tensor {
    const level0 = new NoiseLevel(this.schedule.ends(z0.device).gamma0, z0.dtype);
    return decodePixels(z0.div(level0.alpha), this.#options.levels).to("uint8");
  }

  /** The three terms of the bound at given draws (eq. 11-17). `x`: whole numbers 0 .. V - 1 as floats, `[B, C, H, W]`. */
  evaluate(
    x: Tensor,
    draws: VdmDraws,
    o: {
      readonly pass: Pass;
      readonly condition?: Tensor | undefined;
      readonly steps?: number;
      readonly at?: ScheduleValue;
    },
  ): VdmEvaluation {
    const { prediction, levels } = this.#options;
    const { eps, eps0 } = draws;
    const steps = o.steps ?? this.#options.steps;
    const f = encodePixels(x, levels);
    const { gamma0, gamma1 } = this.schedule.ends(x.device);

    // 1. Reconstruction: z_0 / alpha_0 = f + exp(gamma_0 / 2) eps_0
    const y = f.add(gamma0.div(2).exp().to(f.dtype).mul(eps0));
    const reconstruction = perExample(pixelLogLikelihood(x, y, gamma0, levels))
      .neg()
      .to(gamma0.dtype);

    // 2. Prior: KL(q(z_1 | x) || N(0, I))
    const prior = priorDivergence(f, gamma1);

    // 3. Diffusion: 1/2 gamma'(t) ||eps - eps_hat||^2 (eq. 17), or T/2 (exp(gamma_t - gamma_s) - 1) ||eps - eps_hat||^2 (eq. 14)
    const chain = steps > 0 ? discretiseTimes(draws.t, steps) : undefined;
    const { gamma, dGamma } = o.at ?? this.schedule.at(chain ? chain.t : draws.t);
    const level = new NoiseLevel(perImage(gamma, f.rank), f.dtype);
    const zt = level.diffuse(f, eps);
    const condition = o.condition ?? zeros([f.dim(0)], { dtype: f.dtype, device: f.device });
    const out = this.denoiser.forward(zt, gamma, condition, o.pass);
    const error = perExample(predictionTarget(prediction, f, eps, level).sub(out).square()).to(gamma.dtype);
    const weight = errorWeight(prediction, new NoiseLevel(gamma));
    const epsError = error.mul(weight);
    const rate = chain
      ? new Transition(
          new NoiseLevel(this.schedule.at(chain.s).gamma),
          new NoiseLevel(gamma),
        ).snrRatioMinusOne.mul(steps)
      : dGamma;
    const diffusion = rate.mul(epsError).mul(0.5);

    return { bound: { reconstruction, prior, diffusion }, gamma, zt, out, epsError };
  }

  bound(batch: Batch, { streams, pass, steps }: BoundContext): Bound {
    const x = this.#float(batch.pixels);
    return this.evaluate(x, this.#draw(x, streams), {
      pass,
      condition: batch.condition,
      ...(steps === undefined ? {} : { steps }),
    }).bound;
  }

  diffusionAt(batch: Batch, t: Tensor, { streams, pass, steps }: BoundContext): Tensor {
    const x = this.#float(batch.pixels);
    const draws = { ...this.#draw(x, streams), t };
    return this.evaluate(x, draws, {
      pass,
      condition: batch.condition,
      ...(steps === undefined ? {} : { steps }),
    }).bound.diffusion;
  }

  /** `z_t = alpha_t f + sigma_t eps` (eq. 1); the same streams give the same noise at every time. */
  noised(batch: Batch, t: Tensor, streams: Streams): Tensor {
    const f = this.encode(batch.pixels);
    const eps = randn(f.shape, streams.generator("noise"), { dtype: f.dtype }).toDevice(f.device);
    return new NoiseLevel(perImage(this.schedule.at(t).gamma, f.rank), f.dtype).diffuse(f, eps);
  }

  objective(batch: Batch, { streams, pass }: StepContext): Objective {
    const x = this.#float(batch.pixels);
    return this.objectiveAt(x, this.#draw(x, streams), { pass, condition: batch.condition });
  }

  /** The bound at given draws in bits per dimension, the mean of which is minimised. `x` as in `evaluate`. */
  objectiveAt(
    x: Tensor,
    draws: VdmDraws,
    o: { readonly pass: Pass; readonly condition?: Tensor | undefined },
  ): Objective {
    const at =
      this.#options.scheduleGradient === "minimum-variance" ? this.#scheduleLeaves(draws.t) : undefined;
    const { bound } = this.evaluate(x, draws, at ? { ...o, at } : o);
    const perImageBits = bitsPerDim(totalBound(bound), this.dimensions);
    const terms = Object.fromEntries(
      Object.entries(bound).map(([name, nats]) => [name, bitsPerDim(nats, this.dimensions)]),
    );
    const objective: Objective = { loss: perImageBits.mean(), perExample: perImageBits, t: draws.t, terms };
    if (at) this.#leaves.set(objective, { t: draws.t, value: at, diffusionBits: terms.diffusion as Tensor });
    return objective;
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

  start(request: SampleRequest): VdmState {
    const { dtype, device } = this.#parameterLike();
    const z = randn([request.count, ...this.shape], request.streams.generator("sample/prior"), {
      dtype,
    }).toDevice(device);
    return { z, request, sampler: samplerNamed(request.sampler) };
  }

  step({ z, request, sampler }: VdmState, i: number): VdmState {
    const T = request.steps;
    const from = this.#levelAt((T - i) / T, z);
    const to = this.#levelAt((T - i - 1) / T, z);
    const gamma = from.gamma.reshape([1]).expand([z.dim(0)]);
    const condition = request.condition ?? zeros([z.dim(0)], { dtype: z.dtype, device: z.device });
    const out = this.denoiser.forward(z, gamma, condition, request.pass);
    const { prediction } = this.#options;
    const x = convertPrediction(out, prediction, "x", z, from);
    const eps = convertPrediction(out, prediction, "eps", z, from);
    const noise = () =>
      randn(z.shape, request.streams.at(i).generator("sample/noise"), { dtype: z.dtype }).toDevice(z.device);
    return { z: sampler({ z, prediction: { x, eps }, from, to, noise }), xHat: x, request, sampler };
  }

  #levelAt(t: number, z: Tensor): NoiseLevel {
    return new NoiseLevel(
      this.schedule.at(full([1], t, { dtype: "float64", device: z.device })).gamma,
      z.dtype,
    );
  }

  #draw(x: Tensor, streams: Streams): VdmDraws {
    const { dtype, device } = x;
    const normal = (name: string) => randn(x.shape, streams.generator(name), { dtype }).toDevice(device);
    const t = sampleTimes(this.#options.times, x.dim(0), streams.generator("times"), "cpu").toDevice(device);
    return { t, eps: normal("noise"), eps0: normal("reconstruction") };
  }

  #float(pixels: Tensor): Tensor {
    return pixels.to(this.#parameterLike().dtype);
  }

  #parameterLike(): Tensor {
    const [first] = this.denoiser.parameters();
    if (!first) throw new Error("expected a denoiser with parameters");
    return first.value;
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
