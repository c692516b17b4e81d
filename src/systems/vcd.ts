/**
 * Variational cold diffusion: a deterministic degradation, a variational encoder that tells the network which of the cleaner
 * images is meant, and inputs in training that are not quite true (VCD: a teacher's; VWD: with white noise).
 */
import { klWeight, teacherAge, type teacherCounters } from "../diffusion/cold/kl-weight.js";
import { type LevelLoss, levelLoss, meanBrightness } from "../diffusion/cold/level-loss.js";
import type { LatentLevelNetwork, LatentPosterior, LevelTimes } from "../diffusion/cold/level-network.js";
import { teacherStates } from "../diffusion/cold/teacher-path.js";
import { degraded } from "../diffusion/degradation/degradation.js";
import type { Pass } from "../diffusion/denoiser.js";
import type { Batch, Objective, SampleRequest, StepContext } from "../diffusion/system.js";
import {
  dropout,
  noGrad,
  rand,
  randn,
  type Streams,
  scope,
  stack,
  type Tensor,
  tensor,
} from "../torch/index.js";
import { unitOf } from "./cold.js";
import {
  type ColdPass,
  ColdWalk,
  type ColdWalkOptions,
  type DrawnLevels,
  type LevelDraw,
} from "./cold-walk.js";

export const perturbations = ["none", "vcd", "vwd", "both"] as const;
export const latentModes = ["shared", "per-step"] as const;

export interface TeacherOptions {
  /** Whether an image's input is the teacher's state of its own level, or, as the last official code has it, of its target's. */
  readonly level: "input" | "target";
  /** Chance of going on from the true state at each level, with the averaged weights for a teacher. */
  readonly resetProbability: number;
  /** The same while the teacher has the weights as they are. */
  readonly warmResetProbability: number;
  /** Steps after which the teacher has the averaged weights. */
  readonly warmup: number;
  readonly counter: (typeof teacherCounters)[number];
}

export interface VcdOptions extends ColdWalkOptions {
  readonly network: LatentLevelNetwork;
  readonly loss: LevelLoss;
  readonly lossWeighting: "none" | "brightness";
  /** What the divergence of the latent is multiplied with, beta; the implied variance of the images is beta / 2. */
  readonly beta: number;
  /** Training steps over which that factor is raised; 0 for none. */
  readonly klAnnealing: number;
  readonly perturbation: (typeof perturbations)[number];
  /** Standard deviation of the white noise of VWD. */
  readonly overlookedNoise: number;
  readonly teacher: TeacherOptions;
  /** Share of the pixels of the network's input, behind the encoder, that training leaves out. */
  readonly inputDropout: number;
  /** Whether a sample has one latent for all its steps, or one for each. */
  readonly latentMode: (typeof latentModes)[number];
}

/** A training step's draws. */
export interface VcdDraw extends LevelDraw, DrawnLevels {
  /** Of the latents, `[B, L]`. */
  readonly epsilon: Tensor;
  /** What the network sees in the place of the degraded images. */
  readonly input?: Tensor | undefined;
}

/** What a draw of latents depends on. */
export interface LatentDraws {
  readonly pass: Pass;
  readonly streams: Streams;
}

/** `1/2 sum_j (mu^2 + e^v - 1 - v)` of each image, nats, `[B]`. */
export function latentDivergence({ mean, logVariance }: LatentPosterior): Tensor {
  return mean.square().add(logVariance.exp()).sub(1).sub(logVariance).sum([1]).mul(0.5);
}

/** `mu + exp(v / 2) epsilon` */
function drawnFrom({ mean, logVariance }: LatentPosterior, epsilon: Tensor): Tensor {
  return mean.add(logVariance.mul(0.5).exp().mul(epsilon));
}

/**
 * `x_k = D(x_0, k)` is led to a target, `D(x_0, k - 1)`, x_0 or the noise, all `[B, C, H, W]`, by what the network f makes of x_k, its level
 * and a latent z `[B, L]`; the loss of an image, `[B]`, with `x_hat = x_k + f` for the first target and f for the others:
 *
 *   ||x_hat - target||^2 / w + beta_n KL(N(mu, e^v) || N(0, I)),   z = mu + e^(v/2) epsilon,   (mu, v) = encode(x_k, target, k)
 *
 * w is the batch's mean brightness with `lossWeighting: brightness`, else 1; beta_n rises to beta over `klAnnealing` steps. In training
 * f sees a teacher's state in the place of x_k (VCD), or x_k with white noise (VWD).
 */
export class VariationalColdDiffusion extends ColdWalk {
  readonly network: LatentLevelNetwork;
  readonly lossUnit: string;
  readonly #options: VcdOptions;

  constructor(options: VcdOptions) {
    super(options);
    this.network = options.network;
    this.#options = options;
    this.lossUnit = `${unitOf(options.loss)}, and divergence`;
  }

  /** L */
  get latentSize(): number {
    return this.network.latentSize;
  }

  protected outputAt(x: Tensor, times: LevelTimes, { pass, latent }: ColdPass): Tensor {
    if (!latent) throw new Error("expected a latent for each image");
    return this.network.forward(x, times, latent, pass);
  }

  // ---- training

  objective(batch: Batch, context: StepContext): Objective {
    const { streams, pass, step } = context;
    const x0 = this.encode(batch.pixels);
    const levels = this.drawLevels(x0.dim(0), streams.generator("times"));
    const input = this.#hasTeacher ? this.#teacherInput(x0, levels, context) : undefined;
    const draw: VcdDraw = {
      ...{ x0, ...levels, input },
      noise: this.noise(x0, streams, "noise"),
      overlooked: this.noise(x0, streams, "overlooked"),
      epsilon: this.#latentNoise(x0.dim(0), streams),
    };
    return this.objectiveAt(draw, { pass, step });
  }

  /** The loss at given draws, in training step `step`. */
  objectiveAt(draw: VcdDraw, { pass, step }: { readonly pass: Pass; readonly step: number }): Objective {
    const { loss, lossWeighting, beta, klAnnealing, perturbation, overlookedNoise } = this.#options;
    const { x0, from, to, toLevels } = draw;
    const times = this.told({ from, to });
    const x = draw.input ?? this.stateAt(x0, from, draw.noise);
    const target = this.targetOf(draw);
    const posterior = this.network.encode(x, target, times, pass);
    const latent = drawnFrom(posterior, draw.epsilon);
    const left = dropout(x, this.#options.inputDropout, pass.dropout);
    const white = perturbation === "vwd" || perturbation === "both";
    const seen = white ? left.add(draw.overlooked.mul(overlookedNoise)) : left;
    const out = this.network.forward(seen, times, latent, pass);
    const own = levelLoss(this.predictedFrom(x, out), target, loss);
    const weighted = lossWeighting === "brightness";
    const reconstruction = weighted ? own.div(meanBrightness(this.degradation, toLevels)) : own;
    const divergence = latentDivergence(posterior);
    const perExample = reconstruction.add(divergence.mul(beta * klWeight(step, klAnnealing)));
    return {
      loss: perExample.mean(),
      perExample,
      t: from.to("float64").div(this.levels),
      terms: { reconstruction, divergence },
    };
  }

  get #hasTeacher(): boolean {
    return this.#options.perturbation === "vcd" || this.#options.perturbation === "both";
  }

  /** Images as the model's own averaged, or earlier its present, weights lead them to their levels. */
  #teacherInput(x0: Tensor, { fromLevels, toLevels }: DrawnLevels, context: StepContext): Tensor {
    const { teacher, klAnnealing } = this.#options;
    const age = teacherAge(context.step, { annealing: klAnnealing, counter: teacher.counter });
    const isGrown = age > teacher.warmup;
    const { precision } = context.pass;
    const walk = () =>
      this.teacherInput(x0, teacher.level === "input" ? fromLevels : toLevels, {
        pass: precision === undefined ? {} : { precision },
        resetProbability: isGrown ? teacher.resetProbability : teacher.warmResetProbability,
        streams: context.streams,
      });
    return isGrown ? context.averaged(walk) : noGrad(walk);
  }

  /** The teacher's states of images at the levels wanted of them, with the weights as they are now. */
  teacherInput(
    x0: Tensor,
    levels: readonly number[],
    o: { readonly pass: Pass; readonly resetProbability: number; readonly streams: Streams },
  ): Tensor {
    const draws = rand([this.levels + 1], o.streams.generator("resets"), { dtype: "float64" }).toArray();
    return teacherStates({
      ...{ degradation: this.degradation, x0, levels },
      reset: (level) => (draws[level] as number) < o.resetProbability,
      teacher: ({ x, level, target, rows }) =>
        scope(() => {
          const { from, to } = this.levelsAs(
            rows.map(() => level),
            rows.map(() => level - 1),
          );
          const times = this.told({ from, to });
          const posterior = this.network.encode(x, target, times, o.pass);
          const all = this.#latentNoise(x0.dim(0), o.streams.at(level));
          const epsilon = all.indexSelect(0, tensor([...rows], { dtype: "int64" }).toDevice(x.device));
          return x.add(this.network.forward(x, times, drawnFrom(posterior, epsilon), o.pass));
        }),
    });
  }

  // ---- latents

  /** From the prior N(0, I): `[count, L]`, or one for each level, `[count, T, L]`. */
  protected override latentsFor({ count, streams }: SampleRequest): Tensor {
    const { dtype, device } = this.parameterLike();
    const each = this.#options.latentMode === "shared" ? [this.latentSize] : [this.levels, this.latentSize];
    return streams
      .drawn("sample/latents", count, (n, generator) => randn([n, ...each], generator, { dtype }))
      .toDevice(device);
  }

  #latentNoise(count: number, streams: Streams): Tensor {
    const { dtype, device } = this.parameterLike();
    return noGrad(() =>
      randn([count, this.latentSize], streams.generator("latents"), { dtype }).toDevice(device),
    );
  }

  /**
   * D(x_0, T), and the latents that lead from each true state of images to the one below it, `[B, T, L]` from level T down.
   */
  encodedLatents(x0: Tensor, o: LatentDraws): { readonly start: Tensor; readonly latents: Tensor } {
    const noise = this.#noiseOfStates(x0, o);
    const levels = Array.from({ length: this.levels }, (_, i) => this.levels - i);
    const each = levels.map((level) =>
      scope(() => {
        const { from } = this.#stepFrom(level, x0.dim(0));
        return this.#latentTowards({ x0, noise }, degraded(this.degradation, x0, from, noise), level, o);
      }),
    );
    return { start: this.fullyDegraded(x0, noise), latents: stack(each, 1) };
  }

  /**
   * Images led back from full degradation, each step by the latent that its encoder finds between the state reached and the
   * true one below: the states from level T to 0, each with the latent of the step that led to it.
   */
  *reconstruction(
    x0: Tensor,
    o: LatentDraws,
  ): IterableIterator<{ readonly x: Tensor; readonly latent?: Tensor }> {
    // Drawn anew for every step, whose scope may end before the next.
    const truth = () => ({ x0, noise: this.#noiseOfStates(x0, o) });
    const start = this.fullyDegraded(x0, truth().noise);
    let x = start;
    yield { x };
    for (let level = this.levels; level > 0; level--) {
      const latent = this.#latentTowards(truth(), x, level, o);
      const noise = () => this.noise(x, o.streams.at(level), "sample/noise");
      x = this.stepDown(x, {
        ...{ from: level, to: level - 1, jump: 1, sampler: "ancestral", start, latent, pass: o.pass, noise },
      }).next;
      yield { x, latent };
    }
  }

  /** Standard normal, the same in all states of an image. */
  #noiseOfStates(x0: Tensor, { streams }: LatentDraws): Tensor {
    return this.noise(x0, streams.at(0), "noise"); // those of steps are at(1) .. at(T)
  }

  /** A draw of the latent that leads from states `x` of a level to their target: the true states below, the images, or the noise. */
  #latentTowards(
    { x0, noise }: Pick<LevelDraw, "x0" | "noise">,
    x: Tensor,
    level: number,
    { pass, streams }: LatentDraws,
  ): Tensor {
    const { from, to } = this.#stepFrom(level, x0.dim(0));
    const target = this.targetOf({ x0, to, noise });
    const posterior = this.network.encode(x, target, this.told({ from, to }), pass);
    return drawnFrom(posterior, this.#latentNoise(x0.dim(0), streams.at(level)));
  }

  #stepFrom(level: number, count: number): DrawnLevels {
    return this.levelsAs(new Array<number>(count).fill(level), new Array<number>(count).fill(level - 1));
  }
}
