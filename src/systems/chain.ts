/** What DDGM and DAED share: a discrete Gaussian chain, walked back by networks that are told the number of the step. */

import { chainSamplerNamed } from "../diffusion/chain/chain-samplers.js";
import type { GaussianChain } from "../diffusion/chain/gaussian-chain.js";
import { boundTerm, type ChainLoss, chainLoss, type FirstTerm } from "../diffusion/chain/objective.js";
import { type ImageCorrection, type ReverseType, reverseStep } from "../diffusion/chain/reverse.js";
import {
  createStepSampler,
  type StepSampler,
  type StepSampling,
  sampleSteps,
} from "../diffusion/chain/step-sampling.js";
import { switchIndex } from "../diffusion/chain/tables.js";
import type { Pass } from "../diffusion/denoiser.js";
import type { Bound } from "../diffusion/likelihood/bound.js";
import { thresholded } from "../diffusion/sampler/threshold.js";
import type {
  Batch,
  BoundContext,
  BoundedLikelihood,
  DiffusionSystem,
  ForwardView,
  Objective,
  PerTimeLoss,
  Reconstruction,
  ReconstructionRequest,
  ReconstructionStart,
  SampleRequest,
  SampleView,
  StepContext,
} from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { Module } from "../nn/index.js";
import { full, noGrad, rand, randn, type Shape, type Streams, scope, type Tensor } from "../torch/index.js";

export interface ChainOptions {
  /** `[C, H, W]` of an image. */
  readonly shape: Shape;
  readonly chain: GaussianChain;
  readonly type: ReverseType;
  readonly loss: ChainLoss;
  /** Which steps a batch is trained on. */
  readonly sampling: StepSampling;
  /** What the number of a step is multiplied with before a network is told it: 1, the default, or 1000 / T. */
  readonly timestepScale?: number;
}

export interface ChainState extends SampleView {
  readonly request: SampleRequest;
  /** The chain that is walked back, of `request.steps` steps. */
  readonly chain: GaussianChain;
}

/** Images, and what was drawn with them. `t` is int64 `[B]`. */
export interface ChainPoint {
  readonly x0: Tensor;
  readonly t: Tensor;
  readonly noise: Tensor;
}

/** How a network is asked. */
export interface ChainPass {
  readonly pass: Pass;
  /** Class numbers `[B]`, where the networks know classes. */
  readonly condition?: Tensor | undefined;
}

/** One step's worth of the bound on images. */
export interface StepMeasure {
  /** The bound's term, bits per dimension `[B]`. */
  readonly bits: Tensor;
  /** Mean squared error of the noise that the predicted image implies, `[B]`. */
  readonly noiseError: Tensor;
  /** Mean squared error of the predicted image, `[B]`. */
  readonly imageError: Tensor;
}

const UNITS: Readonly<Record<ChainLoss, string | undefined>> = {
  simple: "squared error",
  hybrid: "squared error + bound",
  kl: "bits/dim of a step",
  vlb: undefined,
};

export abstract class ChainDiffusion
  extends Module
  implements DiffusionSystem<ChainState>, BoundedLikelihood, PerTimeLoss, ForwardView, Reconstruction
{
  readonly noFlow = "its noise comes in discrete steps";
  readonly #options: Required<ChainOptions>;
  readonly #sampler: StepSampler;

  constructor(options: ChainOptions) {
    super();
    this.#options = { timestepScale: 1, ...options };
    this.#sampler = createStepSampler(options.sampling, options.chain.tables.betas);
  }

  /** The output of the network that is responsible for each image's step. `t`: the numbers that it is told. */
  protected abstract predict(x: Tensor, t: Tensor, how: ChainPass): Tensor;

  /** How step 0 counts in the loss. */
  protected abstract readonly trainedFirst: FirstTerm;
  /** How it counts in the likelihood. */
  protected abstract readonly evaluatedFirst: FirstTerm;

  get shape(): Shape {
    return this.#options.shape;
  }
  get chain(): GaussianChain {
    return this.#options.chain;
  }
  get type(): ReverseType {
    return this.#options.type;
  }
  get loss(): ChainLoss {
    return this.#options.loss;
  }
  /** T */
  get steps(): number {
    return this.chain.length;
  }
  get lossUnit(): string | undefined {
    return UNITS[this.loss];
  }
  get dimensions(): number {
    return this.shape.reduce((product, n) => product * n, 1);
  }

  /** `v / 127.5 - 1`. */
  encode(pixels: Tensor): Tensor {
    return pixels.to(this.parameterLike().dtype).div(127.5).sub(1);
  }

  /** `(x + 1) 127.5`, cut at both ends and to whole numbers below, as the official scripts do. */
  decode(x: Tensor): Tensor {
    return x.add(1).mul(127.5).clamp(0, 255).to("uint8");
  }

  /** The network's output at x_t of `chain`. */
  outputAt(chain: GaussianChain, x: Tensor, t: Tensor, how: ChainPass): Tensor {
    return this.predict(x, this.told(chain, t), how);
  }

  /** The numbers of steps as a network is told them, float64 `[B]`. */
  protected told(chain: GaussianChain, t: Tensor): Tensor {
    return chain.numbersOf(t).mul(this.#options.timestepScale);
  }

  // ---- training

  objective(batch: Batch, { streams, pass }: StepContext): Objective {
    const x0 = this.encode(batch.pixels);
    const { t, weights } = sampleSteps(this.#sampler, x0.dim(0), streams.generator("times"));
    const noise = this.noise(x0, streams.generator("noise"));
    const point = { x0, t: t.toDevice(x0.device), noise };
    return this.objectiveAt(point, {
      pass,
      condition: batch.condition,
      weights: weights.toDevice(x0.device),
    });
  }

  /** The loss at given draws; `weights` `[B]` multiply each image's. */
  objectiveAt(point: ChainPoint, how: ChainPass & { readonly weights?: Tensor }): Objective {
    const { chain } = this;
    const { x0, t, noise } = point;
    const xt = chain.diffuse(x0, t, noise);
    const out = this.outputAt(chain, xt, t, how);
    const { loss, mse, vb } = this.lossAt({ ...point, xt, out });
    if (this.#sampler.observe) this.#sampler.observe(t.toArray(), loss.detach().toArray());
    const weighted = how.weights ? loss.mul(how.weights) : loss;
    return {
      loss: weighted.mean(),
      perExample: weighted,
      t: t.to("float64").div(this.steps),
      terms: { ...(mse ? { mse } : {}), ...(vb ? { vb } : {}) },
    };
  }

  /** Of each image, before its weight. */
  protected lossAt(draw: Parameters<typeof chainLoss>[2]): ReturnType<typeof chainLoss> {
    return chainLoss(this.chain, this.type, draw, { loss: this.loss, first: this.trainedFirst });
  }

  trainState(): Record<string, Tensor> {
    return this.#sampler.state?.() ?? {};
  }

  restoreTrainState(state: ReadonlyMap<string, Tensor>): void {
    if (state.size > 0) this.#sampler.restore?.(state);
  }

  // ---- the bound

  /**
   * One draw of the bound's three parts: step 0, the prior, and T - 1 times the term of one of the other steps, drawn
   * uniformly. Of fewer steps where `steps` says so. Predicted images are kept within [-1, 1].
   */
  bound(batch: Batch, { streams, pass, steps }: BoundContext): Bound {
    const t = rand([batch.pixels.dim(0)], streams.generator("times"), { dtype: "float64" });
    return this.#bound(batch, t, { streams, pass, ...(steps === undefined ? {} : { steps }) });
  }

  diffusionAt(batch: Batch, t: Tensor, context: BoundContext): Tensor {
    return this.#bound(batch, t, context).diffusion;
  }

  #bound(batch: Batch, time: Tensor, { streams, pass, steps = this.steps }: BoundContext): Bound {
    if (steps === 0)
      throw new UserError(
        `expected a number of steps for the bound of a discrete chain, 2 to ${this.steps}, got 0: it has no continuous time`,
      );
    const chain = this.#chainOf(steps);
    const x0 = this.encode(batch.pixels);
    const count = x0.dim(0);
    const t = time
      .mul(steps - 1)
      .floor()
      .clamp(0, steps - 2)
      .add(1)
      .to("int64")
      .toDevice(x0.device);
    const how = { pass, condition: batch.condition };
    const nats = (bits: Tensor) => bits.mul(this.dimensions * Math.LN2);
    const measure = (t: Tensor, name: string) =>
      nats(this.stepMeasure(chain, { x0, t, noise: this.noise(x0, streams.generator(name)) }, how).bits);
    const first = full([count], 0, { dtype: "int64", device: x0.device });
    return {
      reconstruction: measure(first, "reconstruction"),
      prior: chain.prior(x0),
      diffusion: measure(t, "noise").mul(steps - 1),
    };
  }

  /** The bound's term of each image at its step, and the errors of what is predicted there. */
  stepMeasure(
    chain: GaussianChain,
    { x0, t, noise }: ChainPoint,
    how: ChainPass & { readonly correction?: ImageCorrection },
  ): StepMeasure {
    const xt = chain.diffuse(x0, t, noise);
    const out = this.outputAt(chain, xt, t, how);
    const { correction = { clip: "clip" } } = how;
    const { bits, step } = boundTerm(
      chain,
      this.type,
      { x0, xt, t, out },
      { ...correction, first: this.evaluatedFirst },
    );
    const mean = (squares: Tensor) => squares.flatten(1).to("float64").mean([1]);
    return {
      bits,
      noiseError: mean(chain.noiseFromImage(xt, step.xHat, t).sub(noise).square()),
      imageError: mean(step.xHat.sub(x0).square()),
    };
  }

  /** x_t of each image at its time t in [0, 1] `[B]`: the image itself at 0, the last state at 1. */
  noised(batch: Batch, t: Tensor, streams: Streams): Tensor {
    const x0 = this.encode(batch.pixels);
    const passed = t.mul(this.steps).round().to("int64").toDevice(x0.device);
    const noise = this.noise(x0, streams.generator("noise"));
    const xt = this.chain.diffuse(x0, passed.sub(1).clamp(0), noise);
    return passed.eq(0).reshape([-1, 1, 1, 1]).where(x0, xt);
  }

  // ---- sampling

  start(request: SampleRequest): ChainState {
    chainSamplerNamed(request.sampler);
    const like = this.parameterLike();
    const z = randn([request.count, ...this.shape], request.streams.generator("sample/prior"), {
      dtype: like.dtype,
    }).toDevice(like.device);
    return { z, request, chain: this.#chainOf(request.steps, request.respacing) };
  }

  step(state: ChainState, i: number): ChainState {
    const { z, request, chain } = state;
    const { sampler, streams } = request;
    const noise = () => this.noise(z, streams.at(i).generator("sample/noise"));
    const index = chain.length - 1 - i;
    const { next, xHat } = this.stepBack(z, { ...request, chain, index, sampler, noise });
    return { ...state, z: next, xHat };
  }

  /** From x_t, t = `index` for all images, to x_{t-1}; from t = 0 to the image. */
  stepBack(x: Tensor, o: StepBack): { readonly next: Tensor; readonly xHat: Tensor } {
    const { chain, threshold } = o;
    const { step: sampler, clip } = chainSamplerNamed(o.sampler);
    const t = full([x.dim(0)], o.index, { dtype: "int64", device: x.device });
    const out = this.outputAt(chain, x, t, o);
    const change = threshold === undefined ? undefined : (xHat: Tensor) => thresholded(xHat, threshold);
    const step = reverseStep(chain, this.type, { out, x, t }, { clip, change });
    return { next: sampler({ chain, x, t, step, eta: o.eta ?? 0, noise: o.noise }), xHat: step.xHat };
  }

  /** The state whose noise is closest to variance `beta`. @throws UserError where the model cannot walk back from it */
  reconstructionStart(beta: number): ReconstructionStart {
    const { alphasCumprod } = this.chain.tables;
    const index = switchIndex(this.chain.tables, beta);
    return { index, beta: 1 - (alphasCumprod[index] as number) };
  }

  *reconstruction(
    x0: Tensor,
    o: ReconstructionRequest & { readonly chain?: GaussianChain },
  ): Generator<Tensor, void, undefined> {
    const { chain = this.chain, index } = o;
    let x = this.noisedTo(x0, chain, index, o.noise(0));
    yield x;
    for (let t = index; t >= 0; t--) {
      x = this.stepBack(x, { ...o, chain, index: t, noise: () => o.noise(1 + index - t) }).next;
      yield x;
    }
  }

  /** The last of `reconstruction`, in one go. */
  reconstruct(x0: Tensor, o: Parameters<typeof this.reconstruction>[1]): Tensor {
    const states = this.reconstruction(x0, o);
    let x = x0;
    for (;;) {
      const { value } = scope(() => states.next());
      if (!value) return x;
      x = value;
    }
  }

  protected noisedTo(x0: Tensor, chain: GaussianChain, index: number, noise: Tensor): Tensor {
    return chain.diffuse(x0, full([x0.dim(0)], index, { dtype: "int64", device: x0.device }), noise);
  }

  /** The chain in so many steps. @throws UserError where it has fewer */
  #chainOf(steps: number, respacing?: string): GaussianChain {
    if (respacing !== undefined) return this.respacedChain(respacing);
    if (steps === this.steps) return this.chain;
    if (steps > this.steps)
      throw new UserError(
        `expected at most the ${this.steps} steps of the chain, got ${steps}: ask for fewer`,
      );
    return this.respacedChain(String(steps));
  }

  /** The chain in fewer steps. */
  protected respacedChain(spec: string): GaussianChain {
    return this.chain.respaced(spec);
  }

  protected noise(like: Tensor, generator: Parameters<typeof randn>[1]): Tensor {
    return noGrad(() => randn(like.shape, generator, { dtype: like.dtype }).toDevice(like.device));
  }

  /** Some parameter: where and in which dtype the system computes. */
  protected parameterLike(): Tensor {
    const [first] = this.parameters();
    if (!first) throw new Error("expected networks with parameters");
    return first.value;
  }
}

/** One step back. */
export interface StepBack extends ChainPass {
  readonly chain: GaussianChain;
  readonly index: number;
  readonly sampler: string;
  readonly eta?: number | undefined;
  readonly threshold?: number | undefined;
  noise(): Tensor;
}
