/** MuLAN's question before the latent: a schedule that depends on the class or on the image (MuLAN, context ablation). */
import type { Denoiser, Pass } from "../diffusion/denoiser.js";
import type { LatentEncoder } from "../diffusion/encoder.js";
import { type NoiseLevel, Transition } from "../diffusion/level.js";
import { type Bound, perExample, priorDivergence } from "../diffusion/likelihood/bound.js";
import { encodePixels } from "../diffusion/likelihood/discretised.js";
import { gaussianStepDivergence, type StepLaw, stepLaw } from "../diffusion/likelihood/step-divergence.js";
import type { ConditionalSchedule } from "../diffusion/schedule/conditional/index.js";
import type { NoiseCurve, ScheduleEnds } from "../diffusion/schedule/index.js";
import type { Batch, SampleRequest } from "../diffusion/system.js";
import { discretiseTimes } from "../diffusion/times.js";
import { UserError } from "../errors.js";
import { arange, full, randn, type Streams, type Tensor, zeros } from "../torch/index.js";
import {
  type EvaluationOptions,
  GaussianDiffusion,
  type GaussianDraws,
  type GaussianOptions,
  type GaussianState,
} from "./gaussian.js";

export interface ContextMulanOptions extends Omit<GaussianOptions, "prediction"> {
  /** gamma(c, t) of every pixel. */
  readonly schedule: ConditionalSchedule;
  /** Predicts x itself, from z_t and t. */
  readonly denoiser: Denoiser;
  /** Names c of an image; the same network guesses it from the predicted image. */
  readonly encoder: LatentEncoder;
  /** `x0`: c = sigmoid(encoder(x0)). `class`: c is the label, guessed as softmax(encoder(x_hat)). */
  readonly context: "x0" | "class";
  /** Between which the denoiser's time is spread: it is told t, not gamma, which it would have to guess. */
  readonly ends: ScheduleEnds;
}

/**
 * `q(x_t | x, c) = N(alpha_t(c) f, diag(sigma_t^2(c)))`, `gamma(c, t)` `[B, C, H, W]`, c `[B, K]`.
 * The reverse process does not know c. It takes `p(z_s | z_t) = q(z_s | z_t, x = x_hat, c = c_hat)` with c_hat guessed from the
 * predicted image, so that means and variances differ from the posterior's: with steps of 1/T the ratio of the variances
 * stays away from 1, and the bound grows with T. The auxiliary latent is what mends that.
 */
export class ContextMuLAN extends GaussianDiffusion {
  readonly schedule: ConditionalSchedule;
  readonly denoiser: Denoiser;
  readonly encoder: LatentEncoder;
  readonly noFlow =
    "its schedule depends on what the reverse process has to guess, so that it has no probability flow";
  readonly #context: "x0" | "class";
  readonly #ends: ScheduleEnds;

  constructor(options: ContextMulanOptions) {
    super({ ...options, prediction: "x" });
    this.schedule = options.schedule;
    this.denoiser = options.denoiser;
    this.encoder = options.encoder;
    this.#context = options.context;
    this.#ends = options.ends;
  }

  /** The three terms of the bound; `diffusion` is T times the KL of one step. */
  evaluate(x: Tensor, draws: GaussianDraws, o: EvaluationOptions): { readonly bound: Bound } {
    const steps = o.steps ?? this.steps;
    if (steps === 0)
      throw new UserError(
        "expected a chain of T steps for a schedule whose context is guessed (its bound is infinite in continuous time), got --steps 0: give --steps",
      );
    const f = encodePixels(x, this.levels);
    const known = this.schedule.given(this.#known(f, o));
    const end = (t: number) => this.levelAt(t, f, known).level.gamma;
    const reconstruction = this.reconstruction(x, f, end(0), draws.eps0);
    const prior = priorDivergence(f, end(1));

    const { t, s } = discretiseTimes(draws.t, steps);
    const from = this.levelsAt(t, f, known).level;
    const zt = from.diffuse(f, draws.eps);
    const xHat = this.#predict(zt, t, o.pass);
    const guessed = this.schedule.given(this.#guessed(xHat, o.pass));
    const diffusion = gaussianStepDivergence(
      this.#law(known, { z: zt, x: f, t, s }),
      this.#law(guessed, { z: zt, x: xHat, t, s }),
    );
    return { bound: { reconstruction, prior, diffusion: perExample(diffusion).mul(steps) } };
  }

  /** q(z_s | z_t, x) under a curve. */
  #law(
    curve: NoiseCurve,
    o: { readonly z: Tensor; readonly x: Tensor; readonly t: Tensor; readonly s: Tensor },
  ): StepLaw {
    const level = (t: Tensor): NoiseLevel => this.levelsAt(t, o.z, curve).level;
    return stepLaw(new Transition(level(o.s), level(o.t)), o.z, o.x);
  }

  #predict(z: Tensor, t: Tensor, pass: Pass): Tensor {
    const { gammaMin, gammaMax } = this.#ends;
    const asGamma = t.mul(gammaMax - gammaMin).add(gammaMin);
    return this.denoiser.forward(z, asGamma, this.condition(z, undefined, undefined), pass);
  }

  #known(f: Tensor, { condition, pass }: EvaluationOptions): Tensor {
    if (this.#context === "x0") return this.#logits(f, pass).sigmoid();
    if (!condition) throw new Error("expected the class of each image, got none");
    const count = this.#logits(f.narrow(0, 0, 1), {}).dim(1);
    const largest = condition.max().item();
    if (largest >= count)
      throw new UserError(`expected labels below model.classes ${count}, got ${largest}: set model.classes`);
    const classes = arange(0, count, 1, { dtype: condition.dtype, device: condition.device });
    return condition.unsqueeze(1).eq(classes).to(f.dtype);
  }

  #guessed(xHat: Tensor, pass: Pass): Tensor {
    const logits = this.#logits(xHat, pass);
    return this.#context === "x0" ? logits.sigmoid() : logits.softmax(1);
  }

  #logits(x: Tensor, pass: Pass): Tensor {
    return this.encoder.forward(x, pass)[0] as Tensor;
  }

  override start(request: SampleRequest): GaussianState {
    if (request.sampler !== "ancestral")
      throw new UserError(
        `expected sampler ancestral for a schedule whose context is guessed at every step, got ${request.sampler}`,
      );
    return super.start(request);
  }

  /** A step of p(z_s | z_t), whose levels follow from the image it predicts: the sampler is always the ancestral one. */
  override step(state: GaussianState, i: number): GaussianState {
    const { z, request } = state;
    const time = (step: number) =>
      full([z.dim(0)], (request.steps - step) / request.steps, { dtype: "float64", device: z.device });
    const [t, s] = [time(i), time(i + 1)];
    const xHat = this.#predict(z, t, request.pass);
    const curve = this.schedule.given(this.#guessed(xHat, request.pass));
    const { mean, logVariance } = this.#law(curve, { z, x: xHat, t, s });
    const deviation = logVariance.div(2).exp().to(z.dtype);
    const noise = this.noiseOfStep(z, i, request);
    return { ...state, z: mean.to(z.dtype).add(deviation.mul(noise)), xHat };
  }

  noised(batch: Batch, t: Tensor, streams: Streams): Tensor {
    const f = this.encode(batch.pixels);
    const eps = randn(f.shape, streams.generator("noise"), { dtype: f.dtype }).toDevice(f.device);
    const known = this.schedule.given(this.#known(f, { pass: {}, condition: batch.condition }));
    return this.levelsAt(t, f, known).level.diffuse(f, eps);
  }

  /** The ends are the same whatever the context; nothing else is asked of this curve. */
  protected curve(): NoiseCurve {
    const { dtype, device } = this.parameterLike();
    const logits = this.#logits(zeros([1, ...this.shape], { dtype, device }), {});
    return this.schedule.given(logits.softmax(1));
  }

  protected draw(x: Tensor, streams: Streams): GaussianDraws {
    return this.drawNoise(x, streams);
  }
}
