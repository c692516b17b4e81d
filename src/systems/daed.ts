/**
 * DAED: a chain split into a generator, which walks back to x_1, and a denoising auto-encoder, which removes the noise of
 * x_1 in one step (Deja, Kuzina, Trzcinski, Tomczak, "On Analyzing Generative and Denoising Capabilities of
 * Diffusion-based Deep Generative Models", NeurIPS 2022).
 */

import { chainSamplerNamed, sameStep } from "../diffusion/chain/chain-samplers.js";
import { GaussianChain } from "../diffusion/chain/gaussian-chain.js";
import { laplacianDistance } from "../diffusion/chain/laplacian.js";
import type { ChainDraw, ChainLosses, FirstTerm } from "../diffusion/chain/objective.js";
import { type ImageCorrection, outputChannels, reverseStep } from "../diffusion/chain/reverse.js";
import { routed } from "../diffusion/chain/routing.js";
import type { StepNetwork } from "../diffusion/chain/step-network.js";
import { switchIndex } from "../diffusion/chain/tables.js";
import type { ReconstructionStart, SampleRequest } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { cat, type Tensor, tensor, zeros } from "../torch/index.js";
import { ChainDiffusion, type ChainOptions } from "./chain.js";
import {
  type ChainPass,
  type ChainState,
  correctionOf,
  type StepBack,
  type SteppedBack,
} from "./chain-walk.js";

/**
 * How a generator of its own chain hands over to the denoiser: it stops where its noise is the denoiser's (`clean`), or
 * takes two steps more, the second the chain's last without noise, as the authors' script does (`official`).
 */
export const compositions = ["clean", "official"] as const;
export type Composition = (typeof compositions)[number];

/** Which of the two networks there are: both, or one trained by itself, to be composed with the other later. */
export const daedParts = ["both", "denoiser", "generator"] as const;
export type DaedParts = (typeof daedParts)[number];

export interface DaedOptions extends Omit<ChainOptions, "chain"> {
  /** The generator's betas; without `split` the first is the denoiser's. */
  readonly betas: readonly number[];
  /** A denoiser of variance `firstBeta` stands in for those first steps of the chain that add as much noise. */
  readonly split?: { readonly firstBeta: number; readonly composition: Composition } | undefined;
  readonly denoiser?: StepNetwork | undefined;
  readonly generator?: StepNetwork | undefined;
  /** Adds the distance of Laplacian pyramids to the loss of step 0. */
  readonly laplacian?: "with" | "without";
}

/** The chain whose index 0 is the denoiser's step, with the generator's other steps behind. */
function splitChain(betas: readonly number[], firstBeta: number): GaussianChain {
  const whole = new GaussianChain(betas);
  const k = switchIndex(whole.tables, firstBeta);
  const rest = whole.kept(betas.flatMap((_, t) => (t >= k ? [t] : [])));
  return new GaussianChain([...rest.tables.betas], [0, ...rest.timesteps.slice(1)]);
}

/** The official composition's walk: indices of the generator's own chain, and the denoiser at last. */
interface OfficialPath {
  readonly chain: GaussianChain;
  readonly steps: readonly (number | "denoiser")[];
}

/** T - 1 .. k, once more 0, then the denoiser; where k is 0 or 1, the whole chain and the denoiser. */
function officialPath(chain: GaussianChain, firstBeta: number): OfficialPath {
  const k = switchIndex(chain.tables, firstBeta);
  const down = (to: number) => Array.from({ length: chain.length - to }, (_, i) => chain.length - 1 - i);
  return { chain, steps: k <= 1 ? [...down(0), "denoiser"] : [...down(k), 0, "denoiser"] };
}

/**
 * Two networks, each mapping x_t `[B, C, H, W]` and t `[B]` to `[B, C, H, W]`, or `[B, 2C, H, W]` with learned variances. The
 * denoiser leads the first state to the image, the generator noise to that state (eq. 12-13):
 *
 *   -log p(x_0) <= E[-log p(x_0 | x_1)] + E[log q(x_2 .. x_T | x_1) - log p(x_1 .. x_T)],   `x_1 ~ N(sqrt(1 - beta_1) x_0, beta_1 I)`
 *
 * The terms share no parameters. A batch is routed by `t == 0`, the denoiser's, whose loss is the squared error of the noise
 * (`simple`, `hybrid`) or T - 1 times that of the image (`vlb`); the generator's is DDGM's.
 */
export class DAED extends ChainDiffusion {
  readonly denoiser: StepNetwork | undefined;
  readonly generator: StepNetwork | undefined;
  protected readonly trainedFirst: FirstTerm = "squared-error";
  protected readonly evaluatedFirst: FirstTerm = "quantised-first-beta";
  /** Variance of the noise that the denoiser removes. */
  readonly firstBeta: number;
  readonly #options: DaedOptions;
  /** A chain whose first step is the denoiser's, exactly. */
  readonly #denoising: GaussianChain;
  readonly #official: OfficialPath | undefined;

  /** @throws UserError for betas outside (0, 1) */
  constructor(options: DaedOptions) {
    const { betas, split, denoiser, generator } = options;
    const chain = split ? splitChain(betas, split.firstBeta) : new GaussianChain(betas);
    const sampling = !generator ? "only-dae" : denoiser ? options.sampling : "without-first";
    // A part by itself is trained on the average over its own steps.
    super({ ...options, chain, sampling, averageOver: denoiser && generator ? "chain" : "drawn" });
    this.#options = options;
    this.denoiser = denoiser;
    this.generator = generator;
    this.firstBeta = split?.firstBeta ?? (betas[0] as number);
    this.#denoising = new GaussianChain([this.firstBeta, this.firstBeta]);
    this.#official =
      split?.composition === "official" ? officialPath(new GaussianChain(betas), split.firstBeta) : undefined;
  }

  override get lossUnit(): string | undefined {
    return this.loss === "vlb" ? "bits/dim, and squared error at step 0" : super.lossUnit;
  }

  /** Steps that sampling takes where it takes all: the official composition's are more than the chain's. */
  get samplingSteps(): number {
    return this.#official?.steps.length ?? this.steps;
  }

  // ---- networks

  protected predict(x: Tensor, t: Tensor, { condition, pass }: ChainPass): Tensor {
    const channels = outputChannels(this.type, x.dim(1));
    const first = {
      forward: (...given: Parameters<StepNetwork["forward"]>) =>
        withChannels(required(this.denoiser, "denoiser", "step 0").forward(...given), channels),
    };
    const rest = {
      forward: (...given: Parameters<StepNetwork["forward"]>) =>
        required(this.generator, "generator", "the steps from 1 on").forward(...given),
    };
    return routed(first, rest, x, t, condition, pass);
  }

  protected override lossAt(draw: ChainDraw): ChainLosses {
    const losses = super.lossAt(draw);
    if (this.#options.laplacian !== "with") return losses;
    const first = draw.t.eq(0);
    const indices = first.toArray().flatMap((is, i) => (is ? [i] : []));
    if (indices.length === 0) return losses;
    const places = tensor(indices, { dtype: "int64", device: draw.t.device });
    const of = (all: Tensor) => all.indexSelect(0, places);
    const { mean } = reverseStep(this.chain, this.type, { out: of(draw.out), x: of(draw.xt), t: of(draw.t) });
    const distance = laplacianDistance(mean, of(draw.x0)).to(losses.loss.dtype);
    return { ...losses, loss: losses.loss.add(first.to(losses.loss.dtype).mul(distance)) };
  }

  // ---- the denoiser alone

  /** The image that the denoiser sees in `x` = x_1, `[B, C, H, W]`: the mean of p(x_0 | x_1). */
  denoise(x: Tensor, how: ChainPass & { readonly correction?: ImageCorrection | undefined }): Tensor {
    const t = sameStep(0, x);
    const network = required(this.denoiser, "denoiser");
    const out = withChannels(network.forward(x, t.to("float64"), how.condition, how.pass), x.dim(1));
    const type = { ...this.type, variance: "fixed-small" } as const;
    return reverseStep(this.#denoising, type, { out, x, t }, how.correction).mean;
  }

  /** A denoiser without a generator removes noise of its own variance alone. */
  override reconstructionStart(beta: number): ReconstructionStart {
    required(this.denoiser, "denoiser");
    const first = { index: 0, beta: this.firstBeta };
    if (!this.generator) {
      if (Math.abs(beta - this.firstBeta) > 1e-6 * this.firstBeta)
        throw new UserError(
          `expected noise of variance ${this.firstBeta}, all that a denoiser without a generator removes, got ${beta}: compose the two with "varidiff compose"`,
        );
      return first;
    }
    const start = super.reconstructionStart(beta);
    return start.index === 0 ? first : start;
  }

  protected override noisedTo(x0: Tensor, chain: GaussianChain, index: number, noise: Tensor): Tensor {
    return super.noisedTo(x0, index === 0 ? this.#denoising : chain, index, noise);
  }

  // ---- likelihood and sampling

  /** Why it has no bound, where it has none. */
  get noBound(): string | undefined {
    if (this.denoiser && this.generator) return undefined;
    return `it is a ${this.denoiser ? "denoiser" : "generator"} alone, which has no likelihood of images`;
  }

  override checkSampling(request: Pick<SampleRequest, "sampler" | "steps" | "respacing">): void {
    required(this.generator, "generator");
    if (!this.#official) {
      super.checkSampling(request);
      return;
    }
    chainSamplerNamed(request.sampler);
    const { length } = this.#official.steps;
    if (request.steps !== length || request.respacing !== undefined)
      throw new UserError(
        `expected all ${length} steps for the official composition, got ${request.respacing ?? request.steps}: ask for ${length}, or compose a clean one`,
      );
  }

  protected override chainOf(steps: number, respacing?: string): GaussianChain {
    return this.#official && steps === this.samplingSteps
      ? this.#official.chain
      : super.chainOf(steps, respacing);
  }

  override step(state: ChainState, i: number): ChainState {
    if (!this.#official) return super.step(state, i);
    const index = this.#official.steps[i];
    const { z, request, chain } = state;
    const noise = () => this.noise(z, request.streams.at(i), "sample/noise");
    const { next, xHat } =
      typeof index === "number"
        ? this.#generated(z, { ...request, chain, index, noise })
        : this.#denoised(z, request);
    return { ...state, z: next, xHat };
  }

  /** To the image by the denoiser for index 0; x_1 as it is where there is none. */
  override stepBack(x: Tensor, o: StepBack): SteppedBack {
    if (o.index > 0) return this.#generated(x, o);
    return this.denoiser ? this.#denoised(x, o) : { next: x, xHat: x };
  }

  #denoised(x: Tensor, o: Omit<StepBack, "chain" | "index" | "noise">): SteppedBack {
    const image = this.denoise(x, { ...o, correction: correctionOf(o) });
    return { next: image, xHat: image };
  }

  /** A step of the generator, also at index 0 of its own chain. */
  #generated(x: Tensor, o: StepBack): SteppedBack {
    const network = required(this.generator, "generator");
    return this.stepBackBy((told) => network.forward(x, told, o.condition, o.pass), x, o);
  }
}

/** @throws UserError where the model lacks the part */
function required(
  network: StepNetwork | undefined,
  part: "denoiser" | "generator",
  what = part === "denoiser" ? "denoising" : "drawing samples",
): StepNetwork {
  if (network) return network;
  const other = part === "denoiser" ? "generator" : "denoiser";
  throw new UserError(
    `expected a model with a ${part} for ${what}, got a ${other} alone: compose the two with "varidiff compose"`,
  );
}

/** The first of the output's channels, or zeros behind them, where another part has another number. */
function withChannels(out: Tensor, channels: number): Tensor {
  const [batch, has, height, width] = out.shape as [number, number, number, number];
  if (has === channels) return out;
  if (has > channels) return out.narrow(1, 0, channels);
  return cat(
    [out, zeros([batch, channels - has, height, width], { dtype: out.dtype, device: out.device })],
    1,
  );
}
