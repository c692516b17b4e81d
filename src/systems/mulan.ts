/** MuLAN: Diffusion Models with Learned Adaptive Noise (Sahoo, Gokaslan, De Sa, Kuleshov, 2024; arXiv 2312.13236). */
import type { Denoiser, Pass } from "../diffusion/denoiser.js";
import type { LatentEncoder } from "../diffusion/encoder.js";
import type { Latent, LatentDraw } from "../diffusion/latent/index.js";
import { Transition } from "../diffusion/level.js";
import { type Bound, perExample, priorDivergence } from "../diffusion/likelihood/bound.js";
import { encodePixels } from "../diffusion/likelihood/discretised.js";
import type { ProbabilityFlow } from "../diffusion/likelihood/flow.js";
import { errorWeight, predictionTarget } from "../diffusion/prediction.js";
import { type ConditionalSchedule, replaced } from "../diffusion/schedule/conditional/index.js";
import type { NoiseCurve, ScheduleEnds } from "../diffusion/schedule/index.js";
import type {
  Batch,
  FlowContext,
  FlowLikelihood,
  GivenFlow,
  PixelSchedule,
  ReplaceableSchedule,
  SampleRequest,
} from "../diffusion/system.js";
import { discretiseTimes } from "../diffusion/times.js";
import { UserError } from "../errors.js";
import {
  cat,
  type FloatDtype,
  type Generator,
  randn,
  type Streams,
  type Tensor,
  zeros,
} from "../torch/index.js";
import {
  type EvaluationOptions,
  GaussianDiffusion,
  type GaussianDraws,
  type GaussianOptions,
  type GaussianState,
} from "./gaussian.js";

/** The auxiliary latent z and the network that names its posterior. */
export interface Auxiliary {
  readonly latent: Latent;
  /** Which divergence from the prior is charged, in words. */
  readonly divergence: string;
  readonly encoder: LatentEncoder;
}

export interface MulanOptions extends GaussianOptions {
  /** gamma(z, t) of every pixel. */
  readonly schedule: ConditionalSchedule;
  readonly denoiser: Denoiser;
  /** Without it the schedule is that of z = 0. */
  readonly auxiliary?: Auxiliary | undefined;
  /** m, entries of z: the schedule is made for so many. */
  readonly latentSize: number;
  /** Whether the denoiser is given z too. Default `with-latent`. */
  readonly denoiserCondition?: "with-latent" | "without-latent";
  /** Where a line goes that replaces the schedule after training. */
  readonly ends: ScheduleEnds;
}

export interface MulanDraws extends GaussianDraws {
  /** z ~ q(z | x) with its divergence; absent without the auxiliary latent. */
  readonly latent?: LatentDraw | undefined;
}

/** One evaluation of the bound, with what it was computed from. */
export interface MulanEvaluation {
  /** Nats per image; `latent` is KL(q(z | x) || p(z)). */
  readonly bound: Bound;
  /** gamma(z, t) and gamma'(z, t), `[B, C, H, W]`, or of a shape that broadcasts to it. */
  readonly gamma: Tensor;
  readonly dGamma: Tensor;
  /** `[B, C, H, W]` */
  readonly zt: Tensor;
  /** The denoiser's output, `[B, C, H, W]`. */
  readonly out: Tensor;
}

/**
 * Every pixel has a noise schedule of its own, which the image chooses through a latent that both processes know:
 * `q(x_t | x, z) = N(alpha_t(z) f, diag(sigma_t^2(z)))` elementwise, `gamma(z, t)` `[B, C, H, W]`, z `[B, m]`. The bound, nats per image `[B]`:
 *
 *   -log p(x) <= E[-log p(x | x_0)] + KL(q(x_1 | x, z) || N(0, I)) + KL(q(z | x) || p(z))
 *                + 1/2 E[sum_pixels gamma'(z, t) (eps - eps_hat(x_t, gamma, z))^2]
 *
 * or with T steps, `T/2 E[sum_pixels (exp(gamma_t - gamma_s) - 1) (eps - eps_hat)^2]` for the last. A line integral over gamma: with a schedule
 * for each pixel, the bound depends on the path and not on its ends alone. The denoiser maps x_t `[B, C, H, W]`, gamma and z to
 * a prediction `[B, C, H, W]`.
 */
export class MuLAN
  extends GaussianDiffusion<MulanDraws>
  implements FlowLikelihood, PixelSchedule, ReplaceableSchedule
{
  readonly schedule: ConditionalSchedule;
  readonly denoiser: Denoiser;
  readonly encoder: LatentEncoder | undefined;
  readonly #latent: Latent | undefined;
  readonly #divergence: string;
  readonly #latentSize: number;
  readonly #denoiserCondition: "with-latent" | "without-latent";
  readonly #ends: ScheduleEnds;
  #replacement: "mean" | "linear" | undefined;

  constructor(options: MulanOptions) {
    super(options);
    this.schedule = options.schedule;
    this.denoiser = options.denoiser;
    this.encoder = options.auxiliary?.encoder;
    this.#latent = options.auxiliary?.latent;
    this.#divergence = options.auxiliary?.divergence ?? "none";
    this.#latentSize = options.latentSize;
    this.#denoiserCondition = options.denoiserCondition ?? "with-latent";
    this.#ends = options.ends;
  }

  /** The terms of the bound at given draws (section 8 of the notes): VDM's with a level per pixel, and the latent's. */
  evaluate(x: Tensor, draws: MulanDraws, o: EvaluationOptions): MulanEvaluation {
    const { eps, eps0, latent } = draws;
    const steps = o.steps ?? this.steps;
    const f = encodePixels(x, this.levels);
    const curve = this.curve(latent?.z);
    const at = (t: Tensor) => this.levelsAt(t, f, curve);
    const end = (t: number) => this.levelAt(t, f, curve).level.gamma;

    // 1. Reconstruction: -log p(x | x_0)
    const reconstruction = this.reconstruction(x, f, end(0), eps0);

    // 2. Prior: KL(q(x_1 | x, z) || N(0, I))
    const prior = priorDivergence(f, end(1));

    // 3. Diffusion: 1/2 sum gamma' (eps - eps_hat)^2, or T/2 sum (exp(gamma_t - gamma_s) - 1) (eps - eps_hat)^2
    const chain = steps > 0 ? discretiseTimes(draws.t, steps) : undefined;
    const now = at(chain ? chain.t : draws.t);
    const { level, dGamma } = now;
    const zt = level.diffuse(f, eps);
    const out = this.denoiser.forward(zt, now.gamma, this.condition(f, latent?.z, o.condition), o.pass);
    const error = predictionTarget(this.prediction, f, eps, level).sub(out).square();
    const rate = chain ? new Transition(at(chain.s).level, level).snrRatioMinusOne.mul(steps) : dGamma;
    const diffusion = perExample(error.mul(errorWeight(this.prediction, level)).mul(rate.to(f.dtype)))
      .mul(0.5)
      .to(reconstruction.dtype);

    // 4. Latent: KL(q(z | x) || p(z))
    const bound = { reconstruction, prior, diffusion };
    return {
      bound: latent ? { ...bound, latent: latent.kl.to(prior.dtype) } : bound,
      gamma: level.gamma,
      dGamma,
      zt,
      out,
    };
  }

  // ---- the latent

  /** The encoder's outputs for pixels. */
  #encoded(pixels: Tensor, pass: Pass): readonly Tensor[] {
    return (this.encoder as LatentEncoder).forward(this.encode(pixels), pass);
  }

  protected draw(x: Tensor, streams: Streams, { pass, step }: EvaluationOptions): MulanDraws {
    const noise = this.drawNoise(x, streams);
    if (!this.#latent) return noise;
    return { ...noise, latent: drawnLatent(this.#latent, this.#encoded(x, pass), { streams, step }) };
  }

  protected override startLatent({ count, streams }: SampleRequest): Tensor | undefined {
    if (!this.#latent) return undefined;
    return streams.drawn("sample/latent", count, (n, generator) => this.#prior(n, generator) as Tensor);
  }

  protected override condition(like: Tensor, latent?: Tensor, condition?: Tensor): Tensor {
    const given = this.#denoiserCondition === "with-latent" ? latent : undefined;
    return super.condition(like, given, condition);
  }

  // ---- the schedule

  protected curve(latent: Tensor | undefined): NoiseCurve {
    const { dtype, device } = this.parameterLike();
    const curve = this.schedule.given(latent ?? zeros([1, this.#latentSize], { dtype, device }));
    return this.#replacement ? replaced(curve, this.#replacement, this.#ends) : curve;
  }

  replaceSchedule(by: "mean" | "linear" | undefined): void {
    this.#replacement = by;
  }

  curveOf(batch: Batch): NoiseCurve {
    return this.curve(this.#latent?.mode(this.#encoded(batch.pixels, {})).z);
  }

  priorCurve(count: number, streams: Streams): NoiseCurve {
    return this.curve(this.#prior(count, streams.generator("latent")));
  }

  #prior(count: number, generator: Generator): Tensor | undefined {
    const { dtype, device } = this.parameterLike();
    return this.#latent?.prior(count, generator, { dtype: dtype as FloatDtype, device });
  }

  // ---- views, and the probability flow

  noised(batch: Batch, t: Tensor, streams: Streams): Tensor {
    const f = this.encode(batch.pixels);
    const eps = randn(f.shape, streams.generator("noise"), { dtype: f.dtype }).toDevice(f.device);
    return this.levelsAt(t, f, this.curveOf(batch)).level.diffuse(f, eps);
  }

  /** The flow given z: the most likely one (which the official evaluation charges the same divergence for), or a draw. */
  flow(batch: Batch, { pass, streams, latent: how }: FlowContext): GivenFlow {
    const latent = this.#latent;
    const encoded = latent ? this.#encoded(batch.pixels, pass) : [];
    const drawn =
      how === "mode" ? latent?.mode(encoded) : latent?.draw(encoded, streams.generator("latent"), undefined);
    const curve = this.curve(drawn?.z);
    const start = this.levelAt(0, this.encode(batch.pixels), curve).level.gamma;
    const gamma0 = start.min().reshape([1]);
    if (start.max().item() - gamma0.item() > 1e-6)
      throw new UserError(
        "expected a schedule whose pixels all start at one noise level for nll, got one whose ends are free or learned: use bpd",
      );
    return {
      flow: this.flowAlong(curve, this.condition(batch.pixels, drawn?.z, batch.condition), pass),
      gamma0,
      ...(drawn ? { kl: drawn.kl, klKind: this.#divergence } : {}),
    };
  }

  flowOf(state: GaussianState): ProbabilityFlow {
    return this.sampleFlow(state);
  }
}

/** Of a part of a batch: that of its rows, with nothing in the place of the others. */
function drawnLatent(
  latent: Latent,
  encoded: readonly Tensor[],
  { streams, step }: { readonly streams: Streams; readonly step: number | undefined },
): LatentDraw {
  const { rows } = streams;
  if (!rows) return latent.draw(encoded, streams.generator("latent"), step);
  const count = (encoded[0] as Tensor).dim(0);
  const among = encoded.map((own) => {
    const blank = (n: number) => zeros([n, ...own.shape.slice(1)], { dtype: own.dtype, device: own.device });
    return cat([blank(rows.first), own, blank(rows.of - rows.first - count)], 0);
  });
  const { z, kl } = latent.draw(among, streams.ofBatch("latent"), step);
  return { z: z.narrow(0, rows.first, count), kl: kl.narrow(0, rows.first, count) };
}
