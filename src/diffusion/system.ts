/** What every system is, whatever its forward process: trained, evaluated and sampled through these interfaces. */
import type { Module } from "../nn/index.js";
import type { FloatDtype, Shape, Streams, Tensor } from "../torch/index.js";
import type { GaussianChain } from "./chain/gaussian-chain.js";
import type { StartFitting } from "./cold/start/start.js";
import type { Pass } from "./denoiser.js";
import type { Bound } from "./likelihood/bound.js";
import type { ProbabilityFlow } from "./likelihood/flow.js";
import { type NoiseCurve, NoiseSchedule } from "./schedule/schedule.js";

/** Images as a system is given them. */
export interface Batch {
  /** uint8 `[B, C, H, W]` */
  readonly pixels: Tensor;
  /** One number per image, `[B]`: class, or whether it was augmented; zeros where absent. */
  readonly condition?: Tensor;
}

/** What a training step may use besides its batch. */
export interface StepContext {
  /** 0-based. */
  readonly step: number;
  /** The streams of this step. */
  readonly streams: Streams;
  readonly pass: Pass;
  /** Runs with the averaged weights, without gradients: a teacher. */
  averaged<R>(run: () => R): R;
}

/** What is minimised, and what is reported of it. */
export interface Objective {
  /** Scalar; its gradient is taken. */
  readonly loss: Tensor;
  /** What is reported of each image, `[B]`: bits per dimension, or what the system's `lossUnit` says. */
  readonly perExample: Tensor;
  /** Times in [0, 1], `[B]`. */
  readonly t: Tensor;
  /** Parts of it, each `[B]`. */
  readonly terms: Readonly<Record<string, Tensor>>;
}

/** What a sample is made of besides weights. */
export interface SampleRequest {
  readonly count: number;
  readonly steps: number;
  readonly sampler: string;
  readonly streams: Streams;
  readonly pass: Pass;
  /** One number per image, `[count]`. */
  readonly condition?: Tensor;
  /** Percentile in (0, 100] at which predicted images are thresholded; not at all where absent. */
  readonly threshold?: number;
  /** Which steps of a discrete chain are taken, as in `10,15,20` or `ddim25`; evenly spaced ones where absent. */
  readonly respacing?: string;
  /** Noise of DDIM on a discrete chain: 0, the default, is deterministic, 1 has the posterior's variance. */
  readonly eta?: number;
  /** Of degradations: levels that the network is asked to go at once. */
  readonly jump?: number;
  /** Of models with latents: those of the samples, `[count, L]`, or one for every level from T down, `[count, T, L]`. */
  readonly latents?: Tensor;
  /** Of degradations: what all samples have in common. */
  readonly shared?: readonly SharedBySamples[];
}

/** The first state, or the noise that is added on the way. */
export type SharedBySamples = "start" | "noise";

/** What can be looked at between two steps. */
export interface SampleView {
  /** The noisy latent `[B, C, H, W]`. */
  readonly z: Tensor;
  /** The clean image predicted from it. */
  readonly xHat?: Tensor;
}

/** What can be trained on images. */
export interface ImageModel extends Module {
  /** `[C, H, W]` of one image. */
  readonly shape: Shape;
  /** What `Objective.perExample` counts. Default `bits/dim`. */
  readonly lossUnit?: string;
  objective(batch: Batch, context: StepContext): Objective;
  /** Takes the gradient; default `objective.loss.backward()`. */
  backward?(objective: Objective): void;
  /** Counters, loss histories, fitted priors: whatever a resumed run needs besides weights. */
  trainState?(): Record<string, Tensor>;
  restoreTrainState?(state: ReadonlyMap<string, Tensor>): void;
}

/** What the objective of a step is computed from, by name, on the model's device. */
export type StepInputs = Readonly<Record<string, Tensor>>;

/**
 * A model whose objective is a function of tensors on its device alone, everything drawn beforehand: what a CUDA graph can
 * hold of a training step. `objective(batch, context)` is `objectiveOf(stepInputs(batch, context), context.pass)`.
 */
export interface CapturableModel extends ImageModel {
  stepInputs(batch: Batch, context: StepContext): StepInputs;
  objectiveOf(inputs: StepInputs, pass: Pass): Objective;
}

/** Whether training steps of `model` can be captured, as far as its kind goes. */
export function isCapturable(model: ImageModel): model is CapturableModel {
  return "stepInputs" in model && "objectiveOf" in model;
}

/** A diffusion model: its forward process, its networks and its objective. */
export interface DiffusionSystem<S extends SampleView = SampleView> extends ImageModel {
  /** uint8 pixels to the system's own range, float. */
  encode(pixels: Tensor): Tensor;
  /** A finished latent to uint8 pixels; `state` is the one it is of. */
  decode(z: Tensor, state?: S): Tensor;
  /** An unfinished latent as something to look at, uint8; from [-1, 1] where absent. */
  show?(z: Tensor): Tensor;
  /** Steps that samples are drawn in by a sampler where nothing else is asked for. */
  usualSteps?(sampler: string): number;
  /** @throws UserError where samples cannot be drawn so; what is not checked here is told when they are drawn */
  checkSampling?(request: Pick<SampleRequest, "sampler" | "steps" | "jump">): void;
  /** The first state of a sample; the driver owns the loop: one scope a step, every step reported. */
  start(request: SampleRequest): S;
  /** Step i = 0, 1, ... of `request.steps`. */
  step(state: S, i: number): S;
  /** Why the system has no `flow`, in a sentence, where it has none. */
  readonly noFlow?: string;
}

export interface BoundContext {
  readonly streams: Streams;
  readonly pass: Pass;
  /** T of the bound; 0 for continuous time; as trained where absent. */
  readonly steps?: number;
}

/** A system whose likelihood has a variational bound. */
export interface BoundedLikelihood {
  /** Why this one has no bound after all, in a sentence. */
  readonly noBound?: string | undefined;
  /** T of the bound as trained; 0, the default, for continuous time. */
  readonly steps?: number;
  /** Noise within the bins of pixels, where the bound needs it; `none`, the default. */
  readonly dequantisation?: string;
  /** What the bound is computed in, where that is not for the pass to choose. */
  readonly boundPrecision?: FloatDtype;
  /** One Monte-Carlo draw of every term, nats per image. */
  bound(batch: Batch, context: BoundContext): Bound;
}

/** A system whose loss can be looked at time by time. */
export interface PerTimeLoss {
  /** The diffusion term of each image were every draw at time `t` `[B]`, nats per image. */
  diffusionAt(batch: Batch, t: Tensor, context: BoundContext): Tensor;
}

/** A system whose forward process can be drawn from by itself. */
export interface ForwardView {
  /** A draw of z_t for each image at its time `t` `[B]`, `[B, C, H, W]` in the system's own range. */
  noised(batch: Batch, t: Tensor, streams: Streams): Tensor;
}

/** A state of a chain that images are noised to, to be walked back from there. */
export interface ReconstructionStart {
  /** Counted from 0: that of the first step. */
  readonly index: number;
  /** The variance of its noise, `1 - abar`. */
  readonly beta: number;
}

export interface ReconstructionRequest extends Pick<ReconstructionStart, "index"> {
  readonly sampler: string;
  readonly pass: Pass;
  /** One number per image, `[B]`. */
  readonly condition?: Tensor | undefined;
  /** Standard normal draws like the images: those of the noising for i = 0, then of each step. */
  noise(i: number): Tensor;
}

/** A system that takes the noise away from images that it did not draw. */
export interface Reconstruction {
  readonly chain: GaussianChain;
  /** The variance of the noise that a network of its own removes, where there is one. */
  readonly firstBeta?: number;
  /** The state whose noise is closest to variance `beta`. @throws UserError where there is no way back from it */
  reconstructionStart(beta: number): ReconstructionStart;
  /**
   * What becomes of images x_0 that are noised to a state: x_t, and what is left after each of its steps back, the last of
   * them the image; `[B, C, H, W]` in the system's own range, unclipped.
   */
  reconstruction(x0: Tensor, request: ReconstructionRequest): Generator<Tensor, void, undefined>;
}

/** A system with one noise schedule for all pixels of all images. */
export interface SharedSchedule {
  readonly schedule: NoiseSchedule;
}

/** A system whose forward process changes images before it noises them. */
export interface EncodedView {
  /** The clean mean x_t of each image at its time `t` `[B]`, `[B, C, H, W]` in the system's own range. */
  encoded(batch: Batch, t: Tensor): Tensor;
}

/** A system with a noise schedule for every pixel, which may depend on a latent. */
export interface PixelSchedule {
  /** The schedule of each image of a batch, by its most likely latent. */
  curveOf(batch: Batch): NoiseCurve;
  /** The schedules of `count` latents from the prior. */
  priorCurve(count: number, streams: Streams): NoiseCurve;
}

/** A system whose trained schedule can be replaced by a simpler one, to see what it was worth. */
export interface ReplaceableSchedule {
  /** From now on: the mean over pixels, or a line between the same ends; its own again where undefined. */
  replaceSchedule(by: "mean" | "linear" | undefined): void;
}

export interface FlowContext {
  readonly streams: Streams;
  readonly pass: Pass;
  /** What the flow is conditioned on, where it is: the most likely latent, or a draw from its posterior. */
  readonly latent: "mode" | "sample";
}

/** The probability-flow ODE of the images of a batch. */
export interface GivenFlow {
  readonly flow: ProbabilityFlow;
  /** gamma(0), `[1]`: the noise of the start. */
  readonly gamma0: Tensor;
  /** Divergence charged for what the flow is conditioned on, nats per image `[B]`. */
  readonly kl?: Tensor;
  /** Which divergence that is, in words. */
  readonly klKind?: string;
}

/** A system whose likelihood the probability-flow ODE gives exactly. */
export interface FlowLikelihood {
  /** V, values of a pixel. */
  readonly levels: number;
  flow(batch: Batch, context: FlowContext): GivenFlow;
  /** The flow that a sample follows from its first state. */
  flowOf(state: SampleView): ProbabilityFlow;
}

/** A system whose samples may begin at something that is fitted to the training images once, and kept beside the weights. */
export interface FittedStart {
  /** Absent where nothing is fitted. */
  readonly startFitting: StartFitting | undefined;
}

export function isDiffusion(system: ImageModel): system is DiffusionSystem {
  return "step" in system;
}

/** Whether its start is one that is fitted to training images, whether it is already or not. */
export function needsFitting<T extends ImageModel>(
  system: T,
): system is T & { readonly startFitting: StartFitting } {
  return (system as Partial<FittedStart>).startFitting !== undefined;
}

/** Whether it has a variational bound: `bound` in nats per image, for bits/dim. A denoiser or generator alone has none. */
export function hasBound<T extends DiffusionSystem>(system: T): system is T & BoundedLikelihood {
  return "bound" in system && (system as Partial<BoundedLikelihood>).noBound === undefined;
}

/** Whether the probability-flow ODE gives its exact likelihood: what `evaluate --metrics nll` and the sampler `ode` need. */
export function hasFlow<T extends DiffusionSystem>(system: T): system is T & FlowLikelihood {
  return "flow" in system;
}

/** Whether its diffusion term can be had at a given time, `diffusionAt`: what `loss-per-time` is drawn from. */
export function hasPerTimeLoss<T extends DiffusionSystem>(system: T): system is T & PerTimeLoss {
  return "diffusionAt" in system;
}

export function hasForwardView<T extends DiffusionSystem>(system: T): system is T & ForwardView {
  return "noised" in system;
}

export function hasReconstruction<T extends DiffusionSystem>(system: T): system is T & Reconstruction {
  return "reconstructionStart" in system;
}

export function hasEncodedView<T extends DiffusionSystem>(system: T): system is T & EncodedView {
  return "encoded" in system;
}

export function hasPixelSchedule<T extends DiffusionSystem>(system: T): system is T & PixelSchedule {
  return "priorCurve" in system;
}

export function hasReplaceableSchedule<T extends DiffusionSystem>(
  system: T,
): system is T & ReplaceableSchedule {
  return "replaceSchedule" in system;
}

export function hasSharedSchedule<T extends DiffusionSystem>(system: T): system is T & SharedSchedule {
  return "schedule" in system && system.schedule instanceof NoiseSchedule;
}
