/** Walking a discrete chain: into it by adding noise, back by a network that is told the number of the step. */
import { chainSamplerNamed, sameStep } from "../diffusion/chain/chain-samplers.js";
import type { GaussianChain } from "../diffusion/chain/gaussian-chain.js";
import { type ImageCorrection, type ReverseType, reverseStep } from "../diffusion/chain/reverse.js";
import { switchIndex } from "../diffusion/chain/tables.js";
import type { Pass } from "../diffusion/denoiser.js";
import { thresholded } from "../diffusion/sampler/threshold.js";
import type {
  Batch,
  ForwardView,
  Reconstruction,
  ReconstructionRequest,
  ReconstructionStart,
  SampleRequest,
  SampleView,
} from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { Module } from "../nn/index.js";
import { noGrad, randn, type Shape, type Streams, scope, type Tensor } from "../torch/index.js";

export interface ChainWalkOptions {
  /** `[C, H, W]` of an image. */
  readonly shape: Shape;
  readonly chain: GaussianChain;
  readonly type: ReverseType;
  /** What the number of a step is multiplied with before a network is told it: 1, the default, or 1000 / T. */
  readonly timestepScale?: number;
}

/** How a network is asked. */
export interface ChainPass {
  readonly pass: Pass;
  /** Class numbers `[B]`, where the networks know classes. */
  readonly condition?: Tensor | undefined;
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

/** Where a step back leads, and the image that it goes by. */
export interface SteppedBack {
  readonly next: Tensor;
  readonly xHat: Tensor;
}

export interface ChainState extends SampleView {
  readonly request: SampleRequest;
  /** The chain that is walked back, of `request.steps` steps. */
  readonly chain: GaussianChain;
}

/** What a sampler does to predicted images. */
export function correctionOf({
  sampler,
  threshold,
}: Pick<StepBack, "sampler" | "threshold">): ImageCorrection {
  const { clip } = chainSamplerNamed(sampler);
  return {
    clip,
    change: threshold === undefined ? undefined : (xHat) => thresholded(xHat, threshold),
  };
}

export abstract class ChainWalk extends Module implements ForwardView, Reconstruction {
  readonly noFlow = "its noise comes in discrete steps";
  readonly #options: Required<ChainWalkOptions>;
  /** Chains of fewer steps, by their specification. */
  readonly #respaced = new Map<string, GaussianChain>();

  constructor({ shape, chain, type, timestepScale = 1 }: ChainWalkOptions) {
    super();
    this.#options = { shape, chain, type, timestepScale };
  }

  /** The output of the network that is responsible for each image's step. `t`: the numbers that it is told. */
  protected abstract predict(x: Tensor, t: Tensor, how: ChainPass): Tensor;

  get shape(): Shape {
    return this.#options.shape;
  }
  get chain(): GaussianChain {
    return this.#options.chain;
  }
  get type(): ReverseType {
    return this.#options.type;
  }
  /** T */
  get steps(): number {
    return this.chain.length;
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

  // ---- forward

  /** x_t of each image at its time t in [0, 1] `[B]`: the image itself at 0, the last state at 1. */
  noised(batch: Batch, t: Tensor, streams: Streams): Tensor {
    const x0 = this.encode(batch.pixels);
    const passed = t.mul(this.steps).round().to("int64").toDevice(x0.device);
    const noise = this.noise(x0, streams, "noise");
    const xt = this.chain.diffuse(x0, passed.sub(1).clamp(0), noise);
    return passed.eq(0).reshape([-1, 1, 1, 1]).where(x0, xt);
  }

  // ---- back

  /** @throws UserError where samples cannot be drawn so */
  checkSampling({ sampler, steps, respacing }: Pick<SampleRequest, "sampler" | "steps" | "respacing">): void {
    chainSamplerNamed(sampler);
    this.chainOf(steps, respacing);
  }

  start(request: SampleRequest): ChainState {
    this.checkSampling(request);
    const { dtype, device } = this.parameterLike();
    const z = request.streams
      .drawn("sample/prior", request.count, (n, generator) => randn([n, ...this.shape], generator, { dtype }))
      .toDevice(device);
    return { z, request, chain: this.chainOf(request.steps, request.respacing) };
  }

  step(state: ChainState, i: number): ChainState {
    const { z, request, chain } = state;
    const noise = () => this.noise(z, request.streams.at(i), "sample/noise");
    const { next, xHat } = this.stepBack(z, { ...request, chain, index: chain.length - 1 - i, noise });
    return { ...state, z: next, xHat };
  }

  /** From x_t, t = `index` for all images, to x_{t-1}; from t = 0 to the image. */
  stepBack(x: Tensor, o: StepBack): SteppedBack {
    return this.stepBackBy((told) => this.predict(x, told, o), x, o);
  }

  /** The same with the output of a certain network. */
  protected stepBackBy(network: (told: Tensor) => Tensor, x: Tensor, o: StepBack): SteppedBack {
    const { chain, eta = 0, noise } = o;
    const t = sameStep(o.index, x);
    const out = network(this.told(chain, t));
    const step = reverseStep(chain, this.type, { out, x, t }, correctionOf(o));
    const next = chainSamplerNamed(o.sampler).step({ chain, x, t, step, eta, noise });
    return { next, xHat: step.xHat };
  }

  /** The state whose noise is closest to variance `beta`. @throws UserError where the model cannot walk back from it */
  reconstructionStart(beta: number): ReconstructionStart {
    const index = switchIndex(this.chain.tables, beta);
    return { index, beta: 1 - (this.chain.tables.alphasCumprod[index] as number) };
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
    return chain.diffuse(x0, sameStep(index, x0), noise);
  }

  /** The chain in so many steps, or in those of a specification. @throws UserError where it has fewer */
  protected chainOf(steps: number, respacing?: string): GaussianChain {
    if (respacing === undefined && steps === this.steps) return this.chain;
    if (respacing === undefined && steps > this.steps)
      throw new UserError(
        `expected at most the ${this.steps} steps of the chain, got ${steps}: ask for fewer`,
      );
    const spec = respacing ?? String(steps);
    const chain = this.#respaced.get(spec) ?? this.chain.respaced(spec);
    this.#respaced.set(spec, chain);
    return chain;
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
    if (!first) throw new Error("expected networks with parameters");
    return first.value;
  }
}
