/** What VDM, DiffEnc and MuLAN share: a variance-preserving Gaussian process between pixels and noise. */
import type { Denoiser, Pass } from "../diffusion/denoiser.js";
import { NoiseLevel, perPixel } from "../diffusion/level.js";
import { type Bound, bitsPerDim, perExample, totalBound } from "../diffusion/likelihood/bound.js";
import { decodePixels, encodePixels, pixelLogLikelihood } from "../diffusion/likelihood/discretised.js";
import { driftFromNoise, driftFromVelocity, type ProbabilityFlow } from "../diffusion/likelihood/flow.js";
import { convertPrediction, type PredictionKind } from "../diffusion/prediction.js";
import { flowSampler, samplerNamed, thresholded } from "../diffusion/sampler/index.js";
import type { NoiseCurve } from "../diffusion/schedule/index.js";
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
  StepContext,
} from "../diffusion/system.js";
import { sampleTimes, type TimeSampling } from "../diffusion/times.js";
import { Module } from "../nn/index.js";
import { full, randn, type Shape, type Streams, type Tensor, zeros } from "../torch/index.js";

export interface GaussianOptions {
  /** `[C, H, W]` of an image, `[D]` of a point. */
  readonly shape: Shape;
  /** What the denoiser's output means. Default `eps`. */
  readonly prediction?: PredictionKind;
  /** T of the training objective; 0, the default, is continuous time. */
  readonly steps?: number;
  /** Default `low-discrepancy`. */
  readonly times?: TimeSampling;
  /** V, values of a pixel. Default 256. */
  readonly levels?: number;
}

/** Every draw that one evaluation of the bound needs. */
export interface GaussianDraws {
  /** Times in [0, 1), `[B]`, float64. */
  readonly t: Tensor;
  /** Noise of z_t. */
  readonly eps: Tensor;
  /** Noise of z_0, independent of `eps`. */
  readonly eps0: Tensor;
}

/** How the bound is evaluated. */
export interface EvaluationOptions {
  readonly pass: Pass;
  /** `[B]` or `[B, K]`; zeros where absent. */
  readonly condition?: Tensor | undefined;
  /** T; as trained where absent. */
  readonly steps?: number | undefined;
  /** The training step, where it is one. */
  readonly step?: number | undefined;
}

export interface GaussianState extends SampleView {
  readonly request: SampleRequest;
  /** What schedule and denoiser are given besides z, `[B, K]`; constant along the way. */
  readonly latent?: Tensor;
}

/** A noise level as the denoiser is told of it, and as it multiplies images. */
export interface LevelAt {
  /** `[B]`, or per pixel, of a shape that broadcasts to `[B, C, H, W]`. */
  readonly gamma: Tensor;
  /** gamma'(t), of a shape that broadcasts to `[B, C, H, W]`. */
  readonly dGamma: Tensor;
  readonly level: NoiseLevel;
}

/**
 * Images are encoded on [-1, 1], noised to `z_t = alpha_t x_t + sigma_t eps`, and read off z_0 by a discretised Gaussian.
 * A system says what x_t is, which noise schedule it goes by, and how its bound is made up.
 */
export abstract class GaussianDiffusion<D extends GaussianDraws = GaussianDraws>
  extends Module
  implements DiffusionSystem<GaussianState>, BoundedLikelihood, PerTimeLoss, ForwardView
{
  abstract readonly denoiser: Denoiser;
  readonly #options: Required<GaussianOptions>;

  constructor({ shape, prediction, steps, times, levels }: GaussianOptions) {
    super();
    this.#options = {
      shape,
      prediction: prediction ?? "eps",
      steps: steps ?? 0,
      times: times ?? "low-discrepancy",
      levels: levels ?? 256,
    };
  }

  /** The terms of the bound at given draws. `x`: whole numbers 0 .. V - 1 as floats, `[B, C, H, W]`. */
  abstract evaluate(x: Tensor, draws: D, options: EvaluationOptions): { readonly bound: Bound };

  /** gamma(t) of every image, given its latent where the schedule depends on one. */
  protected abstract curve(latent: Tensor | undefined): NoiseCurve;

  /** The draws of one evaluation. */
  protected abstract draw(x: Tensor, streams: Streams, options: EvaluationOptions): D;

  get shape(): Shape {
    return this.#options.shape;
  }
  /** V, values of a pixel. */
  get levels(): number {
    return this.#options.levels;
  }
  get prediction(): PredictionKind {
    return this.#options.prediction;
  }
  /** T of the training objective. */
  get steps(): number {
    return this.#options.steps;
  }
  /** D, the dimensions that bits are counted by. */
  get dimensions(): number {
    return this.shape.reduce((product, n) => product * n, 1);
  }

  encode(pixels: Tensor): Tensor {
    return encodePixels(this.float(pixels), this.levels);
  }

  decode(z0: Tensor, state?: GaussianState): Tensor {
    const { level } = this.levelAt(0, z0, this.curve(state?.latent));
    return decodePixels(z0.div(level.alpha), this.levels).to("uint8");
  }

  // ---- the bound

  /**
   * `-log p(x | z_0)` per image, nats: z_0 / alpha_0 = f + exp(gamma_0 / 2) eps_0 (VDM, eq. 8), f the clean mean of z_0.
   * `largest` of gamma_0 where that is known without reading it.
   */
  protected reconstruction(
    x: Tensor,
    f: Tensor,
    gamma0: Tensor,
    eps0: Tensor,
    options: { readonly largest?: number | undefined } = {},
  ): Tensor {
    const y = f.add(gamma0.div(2).exp().to(f.dtype).mul(eps0));
    return perExample(pixelLogLikelihood(x, y, gamma0, this.levels, options))
      .neg()
      .to(gamma0.dtype);
  }

  bound(batch: Batch, { streams, pass, steps }: BoundContext): Bound {
    return this.#evaluate(batch, streams, { pass, steps }).bound;
  }

  diffusionAt(batch: Batch, t: Tensor, { streams, pass, steps }: BoundContext): Tensor {
    return this.#evaluate(batch, streams, { pass, steps }, t).bound.diffusion;
  }

  objective(batch: Batch, { streams, pass, step }: StepContext): Objective {
    const x = this.float(batch.pixels);
    const options = { pass, step, condition: batch.condition };
    return this.objectiveAt(x, this.draw(x, streams, options), options);
  }

  /** The bound at given draws in bits per dimension, the mean of which is minimised. `x` as in `evaluate`. */
  objectiveAt(x: Tensor, draws: D, options: EvaluationOptions): Objective {
    return this.bits(this.evaluate(x, draws, options).bound, draws.t);
  }

  /** A bound as an objective. */
  protected bits(bound: Bound, t: Tensor): Objective {
    const perImage = bitsPerDim(totalBound(bound), this.dimensions);
    const terms = Object.fromEntries(
      Object.entries(bound).map(([name, nats]) => [name, bitsPerDim(nats, this.dimensions)]),
    );
    return { loss: perImage.mean(), perExample: perImage, t, terms };
  }

  #evaluate(batch: Batch, streams: Streams, o: EvaluationOptions, t?: Tensor): { readonly bound: Bound } {
    const x = this.float(batch.pixels);
    // However small the noise, an error of what is predicted of it counts as much: rounded maps would add 0.004 bits/dim and more.
    const options = { ...o, pass: { ...o.pass, maps: "float32" as const }, condition: batch.condition };
    const draws = this.draw(x, streams, options);
    return this.evaluate(x, t ? { ...draws, t } : draws, options);
  }

  /** Times, and the noises of z_t and z_0. */
  protected drawNoise(x: Tensor, streams: Streams): GaussianDraws {
    const { dtype, device } = x;
    const [count, ...shape] = x.shape as [number, ...number[]];
    const normal = (name: string) =>
      streams
        .drawn(name, count, (n, generator) => randn([n, ...shape], generator, { dtype }))
        .toDevice(device);
    const t = streams
      .drawn("times", count, (n, generator) => sampleTimes(this.#options.times, n, generator, "cpu"))
      .toDevice(device);
    return { t, eps: normal("noise"), eps0: normal("reconstruction") };
  }

  abstract noised(batch: Batch, t: Tensor, streams: Streams): Tensor;

  // ---- levels

  /** The level at one time, for images like z. */
  protected levelAt(t: number, z: Tensor, curve: NoiseCurve): LevelAt {
    return this.levelsAt(full([z.dim(0)], t, { dtype: "float64", device: z.device }), z, curve);
  }

  /** The level of each image at its own time `t` `[B]`. */
  protected levelsAt(t: Tensor, like: Tensor, curve: NoiseCurve): LevelAt {
    const { gamma, dGamma } = curve.at(t);
    const shaped = perPixel(gamma, this.shape);
    return {
      gamma: gamma.size === t.size ? gamma.reshape([-1]) : shaped,
      dGamma: perPixel(dGamma, this.shape),
      level: new NoiseLevel(shaped, like.dtype),
    };
  }

  // ---- sampling

  /** What the schedule and the denoiser are conditioned on besides the request's condition; none by default. */
  protected startLatent(_request: SampleRequest): Tensor | undefined {
    return undefined;
  }

  checkSampling({ sampler }: Pick<SampleRequest, "sampler">): void {
    if (sampler !== flowSampler) samplerNamed(sampler);
  }

  start(request: SampleRequest): GaussianState {
    const { dtype, device } = this.parameterLike();
    const z = request.streams
      .drawn("sample/prior", request.count, (n, generator) => randn([n, ...this.shape], generator, { dtype }))
      .toDevice(device);
    const latent = this.startLatent(request);
    return latent ? { z, request, latent } : { z, request };
  }

  step(state: GaussianState, i: number): GaussianState {
    const { request, latent } = state;
    const { threshold } = request;
    const z = threshold === undefined ? state.z : this.thresholdedLatent(state.z, threshold);
    const T = request.steps;
    const curve = this.curve(latent);
    const from = this.levelAt((T - i) / T, z, curve);
    const to = this.levelAt((T - i - 1) / T, z, curve);
    const condition = this.condition(z, latent, request.condition);
    const out = this.denoiser.forward(z, from.gamma, condition, request.pass);
    const noise = () => this.noiseOfStep(z, i, request);
    const asX = convertPrediction(out, this.prediction, "x", z, from.level);
    const x = threshold === undefined ? asX : thresholded(asX, threshold);
    const eps =
      x === asX
        ? convertPrediction(out, this.prediction, "eps", z, from.level)
        : convertPrediction(x, "x", "eps", z, from.level);
    const next = samplerNamed(request.sampler)({
      z,
      prediction: { x, eps },
      from: from.level,
      to: to.level,
      noise: () => this.stepNoise(noise(), i, request),
      motion: this.motion(x, from.level, to.level),
    });
    return { ...state, z: next, xHat: x };
  }

  /** Standard normal like z, before `stepNoise`. */
  protected noiseOfStep(z: Tensor, i: number, { streams }: SampleRequest): Tensor {
    const [count, ...shape] = z.shape as [number, ...number[]];
    const { dtype, device } = z;
    return streams
      .at(i)
      .drawn("sample/noise", count, (n, generator) => randn([n, ...shape], generator, { dtype }))
      .toDevice(device);
  }

  /** What thresholding does to z; nothing by default. */
  protected thresholdedLatent(z: Tensor, _percentile: number): Tensor {
    return z;
  }

  /** The flow of a sample's latent and condition. */
  protected sampleFlow({ latent, request }: GaussianState): ProbabilityFlow {
    // Made anew at every evaluation, inside the solver's scope: nothing is left to be freed.
    const flow = (x: Tensor) =>
      this.flowAlong(this.curve(latent), this.condition(x, latent, request.condition), request.pass);
    return { drift: (x, t) => flow(x).drift(x, t) };
  }

  /** How far the clean mean is expected to move from one level to the next; nowhere by default. */
  protected motion(_x: Tensor, _from: NoiseLevel, _to: NoiseLevel): Tensor | undefined {
    return undefined;
  }

  /** The noise of step i; as drawn by default. */
  protected stepNoise(noise: Tensor, _i: number, _request: SampleRequest): Tensor {
    return noise;
  }

  // ---- the probability flow, for those systems that have one

  /** `dx/dt = 1/2 sigma gamma' (eps_hat - sigma x) = 1/2 alpha sigma gamma' v_hat` along a curve. */
  protected flowAlong(curve: NoiseCurve, condition: Tensor, pass: Pass): ProbabilityFlow {
    const prediction = this.prediction;
    return {
      drift: (x, t) => {
        const { gamma, dGamma, level } = this.levelAt(t, x, curve);
        const out = this.denoiser.forward(x, gamma, condition, pass);
        return prediction === "v"
          ? driftFromVelocity(out, level, dGamma)
          : driftFromNoise(convertPrediction(out, prediction, "eps", x, level), x, level, dGamma);
      },
    };
  }

  // ---- small change

  /** What the denoiser is given besides z and gamma: the latent, the batch's condition, or zeros. */
  protected condition(like: Tensor, latent: Tensor | undefined, condition: Tensor | undefined): Tensor {
    const { dtype, device } = this.parameterLike();
    return latent ?? condition ?? zeros([like.dim(0)], { dtype, device });
  }

  /** Pixels in the dtype of the weights. */
  protected float(pixels: Tensor): Tensor {
    return pixels.to(this.parameterLike().dtype);
  }

  /** Some parameter: where and in which dtype the system computes. */
  protected parameterLike(): Tensor {
    const [first] = this.denoiser.parameters();
    if (!first) throw new Error("expected a denoiser with parameters");
    return first.value;
  }
}
