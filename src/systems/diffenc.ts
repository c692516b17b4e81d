/** DiffEnc: Variational Diffusion with a Learned Encoder (Nielsen, Christensen, Dittadi, Winther, 2024; arXiv 2310.19789). */
import type { Denoiser } from "../diffusion/denoiser.js";
import type { Encoding, EncodingContext } from "../diffusion/encoding/index.js";
import { NoiseLevel, perImage, Transition } from "../diffusion/level.js";
import { type Bound, perExample, priorDivergence } from "../diffusion/likelihood/bound.js";
import { encodePixels } from "../diffusion/likelihood/discretised.js";
import { varianceCost } from "../diffusion/likelihood/variance-ratio.js";
import { noiseError, predictionTarget } from "../diffusion/prediction.js";
import type { NoiseSchedule } from "../diffusion/schedule/index.js";
import type { Batch, EncodedView, SampleRequest, SharedSchedule } from "../diffusion/system.js";
import { discretiseTimes } from "../diffusion/times.js";
import { UserError } from "../errors.js";
import { Parameter, zero } from "../nn/index.js";
import { randn, type Streams, type Tensor, zeros } from "../torch/index.js";
import {
  type EvaluationOptions,
  GaussianDiffusion,
  type GaussianDraws,
  type GaussianOptions,
} from "./gaussian.js";

export interface DiffEncOptions extends GaussianOptions {
  readonly schedule: NoiseSchedule;
  readonly denoiser: Denoiser;
  /** What becomes of the data before it is noised. */
  readonly encoding: Encoding;
  /**
   * Whether p(z_s | z_t) foresees how x_t moves, with `dx_t/dlambda ~ sigma_t^2 x_hat` (section 4). Default `sigma2`. With
   * the identity encoding `none` is VDM, `sigma2` another model.
   */
  readonly counterTerm?: "sigma2" | "none";
  /**
   * `w = sigma_Q^2 / sigma_P^2` of a chain of T steps: one number, or one learned for each step. Default 1, which is forced
   * in continuous time: T copies of the cost of any other diverge.
   */
  readonly varianceRatio?: number | "learned";
}

/** How far the generative process is from the forward one, with what that was computed from. */
export interface Mismatch {
  /** gamma(t), `[B]`. */
  readonly gamma: Tensor;
  /** The encoded data, `[B, C, H, W]`. */
  readonly xt: Tensor;
  /** `[B, C, H, W]` */
  readonly zt: Tensor;
  /** The denoiser's output, a prediction of x_t rather than of x. */
  readonly out: Tensor;
  /** Squared and summed over each image, `[B]`. */
  readonly mismatch: Tensor;
}

export interface MismatchOptions {
  readonly eps: Tensor;
  readonly context: EncodingContext;
}

/** One evaluation of the bound, nats per image. */
export interface DiffEncEvaluation extends Mismatch {
  readonly bound: Bound;
}

/**
 * Images are encoded before they are noised, `q(z_t | x) = N(alpha_t x_t, sigma_t^2 I)` with `x_t = encode(x, gamma_t)` `[B, C, H, W]`; the
 * encoder is needed for training and for the bound, never for sampling. Its last term, with `lambda = -gamma` and k = 1 with the
 * counter-term, 0 without (section 4 of the paper; `evaluate` has the other two, both of encoded images):
 *
 *   continuous   1/2 E[gamma'(t) ||eps - eps_hat - (alpha_t / sigma_t) (dx_t/dlambda - k sigma_t^2 x_hat)||^2]
 *   T steps      T/2 E[D (w - 1 - ln w) + w ||mu_Q - mu_P||^2 / sigma_Q^2]
 *
 *   mu_P = (alpha_s / alpha_t) (1 - c) z_t + alpha_s c x_hat + k alpha_s (gamma_t - gamma_s) sigma_t^2 x_hat,   c = 1 - exp(gamma_s - gamma_t)
 *
 * The denoiser maps z_t `[B, C, H, W]` and gamma_t `[B]` to a prediction `[B, C, H, W]`, of x_t rather than of x.
 */
export class DiffEnc extends GaussianDiffusion implements SharedSchedule, EncodedView {
  readonly schedule: NoiseSchedule;
  readonly denoiser: Denoiser;
  readonly encoding: Encoding;
  /** ln w of each step of the chain, where it is learned. */
  readonly logVarianceRatio: Parameter | undefined;
  readonly noFlow =
    "its encoder moves the mean of z_t, so that no ordinary differential equation of the denoiser alone has the marginals of q(z_t)";
  readonly #counterTerm: "sigma2" | "none";
  readonly #ratio: number;

  /** @throws Error for a variance ratio other than 1 in continuous time */
  constructor(options: DiffEncOptions) {
    super(options);
    const { varianceRatio = 1 } = options;
    this.schedule = options.schedule;
    this.denoiser = options.denoiser;
    this.encoding = options.encoding;
    this.#counterTerm = options.counterTerm ?? "sigma2";
    if (varianceRatio !== 1 && this.steps === 0)
      throw new Error(
        `expected variance ratio 1 in continuous time, where the bound diverges with any other, got ${varianceRatio}`,
      );
    this.logVarianceRatio = varianceRatio === "learned" ? new Parameter([this.steps], zero) : undefined;
    this.#ratio = varianceRatio === "learned" ? 1 : varianceRatio;
  }

  /** The three terms of the bound at given draws, all of them of the encoded data. */
  evaluate(x: Tensor, draws: GaussianDraws, o: EvaluationOptions): DiffEncEvaluation {
    const { eps, eps0 } = draws;
    const steps = o.steps ?? this.steps;
    const f = encodePixels(x, this.levels);
    const batch = f.dim(0);
    const context = { condition: this.condition(f, undefined, o.condition), pass: o.pass };
    const { gamma0, gamma1 } = this.schedule.ends(x.device);
    const [x0, x1] = this.encoding.atAll(f, [gamma0.expand([batch]), gamma1.expand([batch])], context) as [
      Tensor,
      Tensor,
    ];

    // 1. Reconstruction: -log p(x | z_0), z_0 = alpha_0 x_0 + sigma_0 eps_0
    const reconstruction = this.reconstruction(x, x0, gamma0, eps0);

    // 2. Prior: KL(N(alpha_1 x_1, sigma_1^2) || N(0, I))
    const prior = priorDivergence(x1, gamma1);

    // 3. Diffusion: 1/2 gamma'(t) ||.||^2, or T KL(q(z_s | z_t, x) || p(z_s | z_t)) of one step
    if (steps === 0) {
      const { dGamma, ...seen } = this.continuousMismatch(f, draws.t, { eps, context });
      const diffusion = dGamma.mul(seen.mismatch).mul(0.5);
      return { bound: { reconstruction, prior, diffusion }, ...seen };
    }
    const at = discretiseTimes(draws.t, steps);
    const seen = this.stepMismatch(f, at, { eps, context });
    const logRatio = this.#logRatio(at.i, steps).to(seen.gamma.dtype);
    const diffusion = varianceCost(logRatio)
      .mul(this.dimensions)
      .add(logRatio.exp().mul(seen.mismatch))
      .mul(steps / 2);
    return { bound: { reconstruction, prior, diffusion }, ...seen };
  }

  /**
   * In continuous time: `|| e - (alpha_t / sigma_t) (dx_t/dlambda - k sigma_t^2 x_hat) ||^2` (section 4), where `e = eps - eps_hat` and
   * k = 1 with the counter-term. Since `x_hat = x_t + (sigma_t / alpha_t) e`, and with the encoding's surplus,
   * the bracket is `(1 + sigma_t^2) e + alpha_t sigma_t surplus`, or without the counter-term `e - alpha_t sigma_t (x_t - surplus)`:
   * nothing is divided by sigma_t.
   */
  continuousMismatch(f: Tensor, t: Tensor, { eps, context }: MismatchOptions): Mismatch & { dGamma: Tensor } {
    const { gamma, dGamma } = this.schedule.at(t);
    const level = new NoiseLevel(perImage(gamma, f.rank), f.dtype);
    const { x: xt, surplus } = this.encoding.withRate(f, gamma, context);
    const { zt, out, error } = this.#predict(xt, eps, { level, gamma, context });
    const lever = level.alpha.mul(level.sigma);
    const bracket =
      this.#counterTerm === "sigma2"
        ? level.sigma2.add(1).mul(error).add(lever.mul(surplus))
        : error.sub(lever.mul(xt.sub(surplus)));
    const mismatch = perExample(bracket.square()).to(gamma.dtype);
    return { gamma, dGamma, xt, zt, out, mismatch };
  }

  /**
   * Of a step from t to s: `||mu_Q - mu_P||^2 / sigma_Q^2
   * = (SNR(s) / c) || c (x_t - x_hat) + (x_s - x_t) - k (gamma_t - gamma_s) sigma_t^2 x_hat ||^2` (section 3).
   */
  stepMismatch(f: Tensor, at: { readonly t: Tensor; readonly s: Tensor }, o: MismatchOptions): Mismatch {
    const { gamma } = this.schedule.at(at.t);
    const gammaS = this.schedule.at(at.s).gamma;
    const level = new NoiseLevel(perImage(gamma, f.rank), f.dtype);
    const levelS = new NoiseLevel(perImage(gammaS, f.rank), f.dtype);
    const { x: xt, change } = this.encoding.change(f, { s: gammaS, t: gamma }, o.context);
    const { zt, out, error } = this.#predict(xt, o.eps, { level, gamma, context: o.context });
    const excess = level.sigma.div(level.alpha).mul(error); // x_hat - x_t
    const { c } = new Transition(levelS, level);
    const unforeseen = change.sub(this.#foreseen(xt.add(excess), level, levelS) ?? 0);
    const mismatch = perExample(unforeseen.sub(c.mul(excess)).square().mul(levelS.snr.div(c))).to(
      gamma.dtype,
    );
    return { gamma, xt, zt, out, mismatch };
  }

  #predict(
    xt: Tensor,
    eps: Tensor,
    o: { readonly level: NoiseLevel; readonly gamma: Tensor; readonly context: EncodingContext },
  ) {
    const zt = o.level.diffuse(xt, eps);
    const out = this.denoiser.forward(zt, o.gamma, o.context.condition, o.context.pass);
    const target = predictionTarget(this.prediction, xt, eps, o.level);
    return { zt, out, error: noiseError(this.prediction, target.sub(out), o.level) };
  }

  /** ln w at step i = 1 .. T of the chain. */
  #logRatio(i: Tensor, steps: number): Tensor {
    if (!this.logVarianceRatio)
      return zeros(i.shape, { dtype: i.dtype, device: i.device }).add(Math.log(this.#ratio));
    if (steps !== this.steps)
      throw new UserError(
        `expected T = ${this.steps}, for which the variance of each step was learned, got T = ${steps}: evaluate with --steps ${this.steps}, or 0 for continuous time`,
      );
    return this.logVarianceRatio.value.indexSelect(0, i.sub(1).to("int64"));
  }

  // ---- sampling: what VDM does, and the counter-term

  /** `x_s - x_t ~ (gamma_t - gamma_s) sigma_t^2 x_hat` */
  #foreseen(x: Tensor, from: NoiseLevel, to: NoiseLevel): Tensor | undefined {
    if (this.#counterTerm === "none") return undefined;
    return from.gamma.sub(to.gamma).to(x.dtype).mul(from.sigma2).mul(x);
  }

  protected override motion(x: Tensor, from: NoiseLevel, to: NoiseLevel): Tensor | undefined {
    return this.#foreseen(x, from, to);
  }

  /** `sigma_P = sigma_Q / sqrt(w)`; with learned ratios only in as many steps as they were learned for. */
  protected override stepNoise(noise: Tensor, i: number, { steps }: SampleRequest): Tensor {
    if (this.logVarianceRatio && steps === this.steps)
      return noise.mul(
        this.logVarianceRatio.value
          .select(0, steps - i - 1)
          .mul(-0.5)
          .exp(),
      );
    return this.#ratio === 1 ? noise : noise.div(Math.sqrt(this.#ratio));
  }

  // ---- views

  encoded(batch: Batch, t: Tensor): Tensor {
    const f = this.encode(batch.pixels);
    const context = { condition: this.condition(f, undefined, batch.condition), pass: {} };
    return this.encoding.at(f, this.schedule.at(t).gamma, context);
  }

  noised(batch: Batch, t: Tensor, streams: Streams): Tensor {
    const xt = this.encoded(batch, t);
    const eps = randn(xt.shape, streams.generator("noise"), { dtype: xt.dtype }).toDevice(xt.device);
    return this.levelsAt(t, xt, this.schedule).level.diffuse(xt, eps);
  }

  protected curve(): NoiseSchedule {
    return this.schedule;
  }

  protected draw(x: Tensor, streams: Streams): GaussianDraws {
    return this.drawNoise(x, streams);
  }
}
