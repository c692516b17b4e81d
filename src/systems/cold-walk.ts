/** Cold diffusion's walk: images are degraded level by level, and networks lead them back. */
import {
  type ColdSampler,
  checkColdSampler,
  coldSamplerNamed,
  type LevelPrediction,
  levelsVisited,
} from "../diffusion/cold/cold-samplers.js";
import type { LevelTimes } from "../diffusion/cold/level-network.js";
import type { Start, StartFitting } from "../diffusion/cold/start/start.js";
import { type Degradation, degraded } from "../diffusion/degradation/degradation.js";
import type { Pass } from "../diffusion/denoiser.js";
import type {
  Batch,
  DiffusionSystem,
  FittedStart,
  ForwardView,
  ImageModel,
  Objective,
  SampleRequest,
  SampleView,
  StepContext,
} from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { Module } from "../nn/index.js";
import {
  fromTypedArray,
  full,
  type Generator,
  noGrad,
  rand,
  randn,
  type Shape,
  type Streams,
  type Tensor,
} from "../torch/index.js";

/** Whether a network is told the number of a level counted from 0 for the first degraded one, or from 1. */
export const levelNumberings = ["from-zero", "from-one"] as const;

export interface ColdWalkOptions {
  /** `[C, H, W]` of an image. */
  readonly shape: Shape;
  readonly degradation: Degradation;
  readonly start: Start;
  /** Standard deviation of the noise that the start has besides. */
  readonly startNoise: number;
  readonly prediction: LevelPrediction;
  readonly numbering: (typeof levelNumberings)[number];
  /** Standard deviation of the noise that is added to degraded images, for the network to remove: sigma. */
  readonly inputNoise: number;
  /** Standard deviation of the noise that samples get at every step but the last: delta. */
  readonly stepNoise: number;
  /** Between which values the clean image is kept that is predicted from noise. */
  readonly clamp: readonly [low: number, high: number];
  /** Levels at once, where nothing else is asked for. */
  readonly jump: number;
  /** Whether targets are one level below the input, or any multiple of `jump`. */
  readonly trainedJumps: "one" | "multiples";
  /** Whether the network is told the level of its input alone, or (where absent) the one that is asked for as well. */
  readonly times?: "one" | "two";
}

/** How a network is asked. */
export interface ColdPass {
  readonly pass: Pass;
  /** `[B, L]`, of a model with latents. */
  readonly latent?: Tensor | undefined;
}

/** A step down from one level, for all images of a batch. */
export interface ColdStepDown extends ColdPass {
  readonly from: number;
  readonly to: number;
  readonly sampler: string;
  readonly jump: number;
  readonly start: Tensor;
  noise(): Tensor;
}

export interface ColdState extends SampleView {
  readonly request: SampleRequest;
  readonly start: Tensor;
  /** `[B, L]`, or one for every level from T down, `[B, T, L]`. */
  readonly latents?: Tensor;
  readonly jump: number;
  readonly visits: readonly { readonly from: number; readonly to: number }[];
}

/** Levels of a batch: where images are and where they go, int64 `[B]`, and the same as numbers. */
export interface DrawnLevels {
  readonly from: Tensor;
  readonly to: Tensor;
  readonly fromLevels: readonly number[];
  readonly toLevels: readonly number[];
}

/** Images, their levels, and the standard normal draws of a training step. */
export interface LevelDraw extends Pick<DrawnLevels, "from" | "to"> {
  readonly x0: Tensor;
  /** Of the degraded images. */
  readonly noise: Tensor;
  /** Of the network's input, which it is to overlook. */
  readonly overlooked: Tensor;
}

export abstract class ColdWalk
  extends Module
  implements ImageModel, DiffusionSystem<ColdState>, ForwardView, FittedStart
{
  readonly noFlow = "its degradation comes in discrete levels";
  readonly noBound: string | undefined =
    "of degradations only inverse heat dissipation (previous, inputNoise, start images) has one: take --metrics restoration or fid";
  readonly degradation: Degradation;
  readonly #options: ColdWalkOptions;

  constructor(options: ColdWalkOptions) {
    super();
    this.#options = options;
    this.degradation = options.degradation;
  }

  abstract objective(batch: Batch, context: StepContext): Objective;
  /** What the network says of images at the levels `times` tell it. */
  protected abstract outputAt(x: Tensor, times: LevelTimes, how: ColdPass): Tensor;
  /** The latents of `count` samples where the model has some. */
  protected latentsFor(_request: SampleRequest): Tensor | undefined {
    return undefined;
  }

  get shape(): Shape {
    return this.#options.shape;
  }
  /** T */
  get levels(): number {
    return this.degradation.levels;
  }
  get prediction(): LevelPrediction {
    return this.#options.prediction;
  }
  /** sigma */
  get inputNoise(): number {
    return this.#options.inputNoise;
  }
  /** delta */
  get stepNoise(): number {
    return this.#options.stepNoise;
  }
  get startFitting(): StartFitting | undefined {
    return this.#options.start.fitting;
  }
  /** All levels one after another, or by the jumps that the model is made for. */
  usualSteps(sampler: string): number {
    return levelsVisited(this.levels, { sampler, jump: this.#options.jump }).length;
  }

  /** `v / 255` */
  encode(pixels: Tensor): Tensor {
    return pixels.to(this.parameterLike().dtype).div(255);
  }

  /** `255 x`, rounded, cut at both ends. */
  decode(x: Tensor): Tensor {
    return x.mul(255).add(0.5).clamp(0, 255).to("uint8");
  }

  show(x: Tensor): Tensor {
    return this.decode(x);
  }

  // ---- forward

  /** `D(x_0, k)` with noise where it has some, and the model's own input noise on top. */
  stateAt(x0: Tensor, level: Tensor, noise: Tensor): Tensor {
    const state = degraded(this.degradation, x0, level, noise);
    return this.inputNoise > 0 ? state.add(noise.mul(this.inputNoise)) : state;
  }

  /** `D(x_0, T)` with noise where it has some, without the model's own. */
  fullyDegraded(x0: Tensor, noise: Tensor): Tensor {
    return degraded(this.degradation, x0, this.#all(this.levels, x0.dim(0)), noise);
  }

  /** x_k of each image at its time k / T `[B]`. */
  noised(batch: Batch, t: Tensor, streams: Streams): Tensor {
    const x0 = this.encode(batch.pixels);
    const level = t.mul(this.levels).round().to("int64").toDevice(x0.device);
    return degraded(this.degradation, x0, level, this.noise(x0, streams, "noise"));
  }

  /** Levels k = 1 .. `highest`, each as likely, and those below them that the model is to reach. */
  protected drawLevels(count: number, generator: Generator, highest = this.levels): DrawnLevels {
    const draws = rand([2, count], generator, { dtype: "float64" }).toArray();
    const { jump, trainedJumps } = this.#options;
    const fromLevels = draws.slice(0, count).map((u) => 1 + Math.floor(u * highest));
    const toLevels = fromLevels.map((from, i) => {
      if (trainedJumps === "one") return from - 1;
      const choices = Math.floor((from - 1) / jump) + 1;
      const times = 1 + Math.floor((draws[count + i] as number) * choices);
      return Math.max(from - times * jump, 0);
    });
    return this.levelsAs(fromLevels, toLevels);
  }

  protected levelsAs(fromLevels: readonly number[], toLevels: readonly number[]): DrawnLevels {
    const { device } = this.parameterLike();
    const asTensor = (levels: readonly number[]) =>
      fromTypedArray(Float64Array.from(levels), [levels.length]).to("int64").toDevice(device);
    return { from: asTensor(fromLevels), to: asTensor(toLevels), fromLevels, toLevels };
  }

  /** Levels as the network is told them. */
  protected told({ from, to }: { readonly from: Tensor; readonly to: Tensor }): LevelTimes {
    if (this.#options.numbering === "from-one") return { t: from, t2: to };
    return { t: from.sub(1), t2: to.sub(1) };
  }

  /** What a network's output at `x` is compared with. */
  protected targetOf({ x0, to, noise }: Pick<LevelDraw, "x0" | "to" | "noise">): Tensor {
    if (this.prediction === "eps") return noise;
    return this.prediction === "x0" ? x0 : this.degradation.degrade(x0, to);
  }

  /** What it says the target is. */
  protected predictedFrom(x: Tensor, out: Tensor): Tensor {
    return this.prediction === "previous" ? x.add(out) : out;
  }

  // ---- back

  /** Whether the network can be asked for any level at once: it is told which, or predicts what lies behind all of them. */
  get reachesAnyLevel(): boolean {
    const { times, prediction } = this.#options;
    return times !== "one" || prediction !== "previous" || this.levels === 1;
  }

  /** @throws UserError where samples cannot be drawn so */
  checkSampling(request: Pick<SampleRequest, "sampler" | "steps" | "jump">): void {
    const { sampler } = request;
    checkColdSampler(sampler, this);
    const { jump } = this.levelsOf(request);
    if (this.reachesAnyLevel || (jump === 1 && (sampler === "ancestral" || sampler === "redegrade"))) return;
    throw new UserError(
      `expected sampler ancestral with a step for each of ${this.levels} levels, as the network knows no level but its input's (model.network.times one), got ${sampler}${jump > 1 ? `, ${jump} levels at once` : ""}: take it`,
    );
  }

  /** What the model was not trained for in samples that are drawn so, in a sentence; undefined where it was. */
  untrained(request: Pick<SampleRequest, "sampler" | "steps" | "jump">): string | undefined {
    const { prediction, trainedJumps, jump: unit } = this.#options;
    if (prediction !== "previous" || this.levels === 1) return undefined;
    const clean = request.sampler.startsWith("algorithm");
    const { jump } = this.levelsOf(request);
    if (trainedJumps === "one" && (clean || jump > 1))
      return `this model was trained to go one level at a time, and is asked for ${clean ? "the clean image" : `${jump} levels`} at once: model.trainedJumps=multiples trains for that`;
    if (trainedJumps === "multiples" && !clean && jump % unit !== 0)
      return `this model was trained to go multiples of ${unit} levels, and is asked for ${jump} at once`;
    return undefined;
  }

  /**
   * Which levels a sample comes through in so many steps, and how many levels the network is asked to go at once: as many as
   * the model is made for where that gives these steps.
   *
   * @throws UserError where no jump gives these steps
   */
  levelsOf({
    sampler,
    steps,
    jump: asked,
  }: Pick<SampleRequest, "sampler" | "steps"> & { readonly jump?: number | undefined }): {
    readonly jump: number;
    readonly visits: ColdState["visits"];
  } {
    const { levels } = this;
    const isUsual = sampler === "redegrade" || this.usualSteps(sampler) === steps;
    const jump = Math.min(asked ?? (isUsual ? this.#options.jump : Math.ceil(levels / steps)), levels);
    const visits = levelsVisited(levels, { sampler, jump });
    if (visits.length === steps) return { jump, visits };
    const counts = [...new Set(Array.from({ length: levels }, (_, i) => Math.ceil(levels / (i + 1))))];
    const possible =
      asked !== undefined || sampler === "redegrade" ? `${visits.length}` : `one of ${counts.join(", ")}`;
    throw new UserError(
      `expected ${possible} steps for ${levels} levels of degradation${asked === undefined ? "" : ` in jumps of ${asked}`}, got ${steps}: ask for so many (sample.steps)`,
    );
  }

  start(request: SampleRequest): ColdState {
    this.checkSampling(request);
    const { dtype, device } = this.parameterLike();
    const isShared = request.shared?.includes("start") ?? false;
    const count = isShared ? 1 : request.count;
    const { startNoise } = this.#options;
    const drawn = request.streams
      .drawn("sample/prior", count, (n, generator) =>
        this.#options.start.draw({ count: n, generator, dtype: "float32", device }),
      )
      .to(dtype);
    const noise = this.noise(drawn, request.streams, "sample/start-noise");
    const first = startNoise > 0 ? drawn.add(noise.mul(startNoise)) : drawn;
    const x = isShared ? first.expand([request.count, ...this.shape]).clone() : first;
    // A copy, since the states that hold it are disposed of.
    const latents = request.latents?.clone() ?? this.latentsFor(request);
    return { z: x, request, start: x, ...(latents ? { latents } : {}), ...this.levelsOf(request) };
  }

  /** Standard normal; the same for all images where the request says so. */
  #noiseOfAll(like: Tensor, { shared }: SampleRequest, streams: Streams): Tensor {
    if (!shared?.includes("noise")) return this.noise(like, streams, "sample/noise");
    return this.noise(like.narrow(0, 0, 1), streams, "sample/noise").expand(like.shape);
  }

  step(state: ColdState, i: number): ColdState {
    const { z, request, latents, visits, jump, start } = state;
    const visit = visits[i] as ColdState["visits"][number];
    const { next, xHat } = this.stepDown(z, {
      ...{ ...visit, pass: request.pass, sampler: request.sampler, jump, start },
      latent: latents && latentOfLevel(latents, visit.from, this.levels),
      noise: () => this.#noiseOfAll(z, request, request.streams.at(i)),
    });
    return { ...state, z: next, ...(xHat ? { xHat } : {}) };
  }

  /** From `x` at level `from` to level `to`. */
  stepDown(x: Tensor, o: ColdStepDown): ReturnType<ColdSampler> {
    const { degradation, prediction, stepNoise } = this;
    const { from, clamp } = { ...o, clamp: this.#options.clamp };
    // A model of clean images sees noise as it did in training; the state that is led back stays without.
    const seen = prediction === "x0" && stepNoise > 0 ? x.add(o.noise().mul(stepNoise)) : x;
    return coldSamplerNamed(o.sampler)({
      ...{ degradation, prediction, x, from, to: o.to, jump: o.jump, stepNoise, clamp },
      ...{ start: o.start, noise: o.noise },
      output: (to) => this.outputAt(seen, this.#toldAll(x.dim(0), from, to), o),
    });
  }

  #toldAll(count: number, from: number, to: number): LevelTimes {
    return this.told({ from: this.#all(from, count), to: this.#all(to, count) });
  }

  #all(level: number, count: number): Tensor {
    return full([count], level, { dtype: "int64", device: this.parameterLike().device });
  }

  /** The states from `x` at level T down to level 0, `x` the first of them. */
  *walk(
    x: Tensor,
    o: Pick<ColdStepDown, "pass"> & {
      readonly sampler: string;
      /** Levels at once; 1 unless given. */
      readonly jump?: number;
      /** `[B, L]`, or one for every level from T down, `[B, T, L]`. */
      readonly latents?: Tensor | undefined;
      /** Standard normal draws like `x` for step i = 0, 1, ... */
      noise(i: number): Tensor;
    },
  ): IterableIterator<Tensor> {
    const { sampler, jump = 1, latents } = o;
    checkColdSampler(sampler, this);
    let state = x;
    yield state;
    for (const [i, visit] of levelsVisited(this.levels, { sampler, jump }).entries()) {
      state = this.stepDown(state, {
        ...{ ...visit, pass: o.pass, sampler, jump, start: x },
        latent: latents && latentOfLevel(latents, visit.from, this.levels),
        noise: () => o.noise(i),
      }).next;
      yield state;
    }
  }

  protected noise({ shape, dtype, device }: Tensor, streams: Streams, name: string): Tensor {
    const [count, ...rest] = shape as [number, ...number[]];
    const drawn = () =>
      streams.drawn(name, count, (n, generator) => randn([n, ...rest], generator, { dtype }));
    return noGrad(() => drawn().toDevice(device));
  }

  /** Some parameter: where and in which dtype the system computes. */
  protected parameterLike(): Tensor {
    const [first] = this.parameters();
    if (!first) throw new Error("expected a network with parameters");
    return first.value;
  }
}

/** The latent of the step from level `from`. */
function latentOfLevel(latents: Tensor, from: number, levels: number): Tensor {
  return latents.rank === 2 ? latents : latents.select(1, levels - from);
}
