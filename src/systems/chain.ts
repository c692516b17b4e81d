/** What DDGM and DAED share besides the walk: how a discrete chain is trained, and its likelihood's bound. */
import { sameStep } from "../diffusion/chain/chain-samplers.js";
import type { GaussianChain } from "../diffusion/chain/gaussian-chain.js";
import {
  boundTerm,
  type ChainDraw,
  type ChainLoss,
  type ChainLosses,
  chainLoss,
  type FirstTerm,
} from "../diffusion/chain/objective.js";
import type { ImageCorrection } from "../diffusion/chain/reverse.js";
import {
  createStepSampler,
  type StepSampler,
  type StepSampling,
  sampleSteps,
} from "../diffusion/chain/step-sampling.js";
import type { Pass } from "../diffusion/denoiser.js";
import type { Bound } from "../diffusion/likelihood/bound.js";
import type {
  Batch,
  BoundContext,
  BoundedLikelihood,
  CapturableModel,
  DiffusionSystem,
  Objective,
  PerTimeLoss,
  StepContext,
  StepInputs,
} from "../diffusion/system.js";
import { sampleTimes } from "../diffusion/times.js";
import { UserError } from "../errors.js";
import type { Tensor } from "../torch/index.js";
import { type ChainPass, type ChainState, ChainWalk, type ChainWalkOptions } from "./chain-walk.js";

export interface ChainOptions extends ChainWalkOptions {
  readonly loss: ChainLoss;
  /** Which steps a batch is trained on. */
  readonly sampling: StepSampling;
  /**
   * What the weights of a batch's losses estimate: the average over all steps of the chain (the default), or over those
   * that are ever drawn.
   */
  readonly averageOver?: "chain" | "drawn";
}

/** Images, and what was drawn with them. `t` is int64 `[B]`. */
export interface ChainPoint {
  readonly x0: Tensor;
  readonly t: Tensor;
  readonly noise: Tensor;
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
  extends ChainWalk
  implements DiffusionSystem<ChainState>, BoundedLikelihood, PerTimeLoss, CapturableModel
{
  readonly loss: ChainLoss;
  readonly #sampler: StepSampler;
  readonly #averageOver: "chain" | "drawn";

  constructor(options: ChainOptions) {
    super(options);
    this.loss = options.loss;
    this.#sampler = createStepSampler(options.sampling, options.chain.tables.betas);
    this.#averageOver = options.averageOver ?? "chain";
  }

  /** How step 0 counts in the loss. */
  protected abstract readonly trainedFirst: FirstTerm;
  /** How it counts in the likelihood. */
  protected abstract readonly evaluatedFirst: FirstTerm;

  get lossUnit(): string | undefined {
    return UNITS[this.loss];
  }
  /** D, the dimensions that bits are counted by. */
  get dimensions(): number {
    return this.shape.reduce((product, n) => product * n, 1);
  }

  // ---- training

  objective(batch: Batch, context: StepContext): Objective {
    const { condition } = batch;
    const { weights, ...point } = this.#draw(batch, context);
    const losses = this.#losses(point, { pass: context.pass, condition });
    this.#sampler.observe?.(point.t.toArray(), losses.loss.detach().toArray());
    return this.#objective(point.t, losses, weights);
  }

  #draw({ pixels }: Batch, { streams }: StepContext): ChainPoint & { readonly weights: Tensor } {
    const x0 = this.encode(pixels);
    const { t, weights } = sampleSteps(this.#sampler, x0.dim(0), {
      generator: streams.generator("times"),
      averageOver: this.#averageOver,
    });
    const noise = this.noise(x0, streams, "noise");
    return { x0, t: t.toDevice(x0.device), noise, weights: weights.toDevice(x0.device) };
  }

  /** @throws UserError where steps are drawn by their losses, which are read for it */
  stepInputs(batch: Batch, context: StepContext): StepInputs {
    if (this.#sampler.observe)
      throw new UserError(
        "expected steps that are not drawn by their losses for train.graph on: set another model.sampling, or train.graph off",
      );
    return { ...this.#draw(batch, context), ...(batch.condition ? { condition: batch.condition } : {}) };
  }

  objectiveOf({ x0, t, noise, weights, condition }: StepInputs, pass: Pass): Objective {
    if (!x0 || !t || !noise || !weights)
      throw new Error("expected the inputs of a step by the names x0, t, noise, weights");
    return this.objectiveAt({ x0, t, noise }, { pass, condition, weights });
  }

  /** The loss at given draws; `weights` `[B]` multiply each image's. */
  objectiveAt(point: ChainPoint, how: ChainPass & { readonly weights?: Tensor }): Objective {
    const losses = this.#losses(point, how);
    return this.#objective(point.t, losses, how.weights);
  }

  #losses(point: ChainPoint, how: ChainPass): ChainLosses {
    const { x0, t, noise } = point;
    const xt = this.chain.diffuse(x0, t, noise);
    return this.lossAt({ ...point, xt, out: this.outputAt(this.chain, xt, t, how) });
  }

  #objective(t: Tensor, { loss, mse, vb }: ChainLosses, weights?: Tensor): Objective {
    const perExample = weights ? loss.mul(weights) : loss;
    return {
      loss: perExample.mean(),
      perExample,
      t: t.to("float64").div(this.steps),
      terms: { ...(mse ? { mse } : {}), ...(vb ? { vb } : {}) },
    };
  }

  /** Of each image, before its weight. */
  protected lossAt(draw: ChainDraw): ChainLosses {
    return chainLoss(this.chain, this.type, draw, { loss: this.loss, first: this.trainedFirst });
  }

  trainState(): Record<string, Tensor> {
    return this.#sampler.state?.() ?? {};
  }

  restoreTrainState(state: ReadonlyMap<string, Tensor>): void {
    this.#sampler.restore?.(state);
  }

  // ---- the bound

  /**
   * One draw of the bound's three parts: step 0, the prior, and T - 1 times the term of one of the other steps, each as
   * likely, together evenly spread over a batch. Of fewer steps where `steps` says so. Predicted images are kept within
   * [-1, 1].
   */
  bound(batch: Batch, context: BoundContext): Bound {
    const x0 = this.encode(batch.pixels);
    const chain = this.#boundedChain(context);
    const first = this.#nats(chain, { x0, t: sameStep(0, x0), name: "reconstruction" }, batch, context);
    const time = context.streams.drawn("times", x0.dim(0), (n, generator) =>
      sampleTimes("low-discrepancy", n, generator, "cpu"),
    );
    return {
      reconstruction: first,
      prior: chain.prior(x0),
      diffusion: this.diffusionAt(batch, time, context),
    };
  }

  diffusionAt(batch: Batch, time: Tensor, context: BoundContext): Tensor {
    const x0 = this.encode(batch.pixels);
    const chain = this.#boundedChain(context);
    const others = chain.length - 1;
    const t = time
      .mul(others)
      .floor()
      .clamp(0, others - 1)
      .add(1)
      .to("int64")
      .toDevice(x0.device);
    return this.#nats(chain, { x0, t, name: "noise" }, batch, context).mul(others);
  }

  /** @throws UserError for a number of steps that the chain does not have */
  #boundedChain({ steps = this.steps }: BoundContext): GaussianChain {
    if (steps < 2)
      throw new UserError(
        `expected a number of steps from 2 to ${this.steps} for the bound of a discrete chain, got ${steps}: ask for so many`,
      );
    return this.chainOf(steps);
  }

  /** The terms of steps `t`, nats per image. */
  #nats(
    chain: GaussianChain,
    { x0, t, name }: { readonly x0: Tensor; readonly t: Tensor; readonly name: string },
    { condition }: Batch,
    { streams, pass }: BoundContext,
  ): Tensor {
    const noise = this.noise(x0, streams, name);
    const { bits } = this.stepMeasure(chain, { x0, t, noise }, { pass, condition });
    return bits.mul(this.dimensions * Math.LN2);
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
}
