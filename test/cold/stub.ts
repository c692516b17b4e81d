/** The stub network of golden/vcd's README, and systems made of it, in float64. */
import {
  createDegradation,
  createStart,
  type Degradation,
  degradationSchema,
  type LatentLevelNetwork,
  type LatentPosterior,
  type LevelNetwork,
  type LevelTimes,
} from "../../src/diffusion/index.js";
import { constant, Module, Parameter } from "../../src/nn/index.js";
import {
  ColdDiffusion,
  type ColdOptions,
  type ColdWalkOptions,
  VariationalColdDiffusion,
  type VcdOptions,
} from "../../src/systems/index.js";
import { cat, full, Streams, type Tensor } from "../../src/torch/index.js";

export interface StubOptions {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  /** T */
  readonly levels: number;
}

/** `x[..., w] -> x[..., (w - 1) mod W]` */
function roll(x: Tensor): Tensor {
  const width = x.dim(3);
  return cat([x.narrow(3, width - 1, 1), x.narrow(3, 0, width - 1)], 3);
}

/** `f(x, t) = a x + b roll(x) + c (t + 1) / T`, and all inputs it has seen. */
export class Stub extends Module implements LevelNetwork {
  readonly weight = new Parameter([1], constant(1));
  readonly seen: Tensor[] = [];
  readonly #options: StubOptions;

  constructor(options: StubOptions) {
    super();
    this.#options = options;
  }

  forward(x: Tensor, { t }: LevelTimes): Tensor {
    this.seen.push(x.clone());
    const { a, b, c, levels } = this.#options;
    const times = t.to("float64").add(1).div(levels).mul(c).reshape([-1, 1, 1, 1]);
    return x.mul(a).add(roll(x).mul(b)).add(times).mul(this.weight.value);
  }
}

/**
 * The same with `d (cond - x)` where it is told a target, and `e mean(prior)` where it has a latent of another size: the target
 * goes through the latent, as its mean with no variance.
 */
export class LatentStub extends Module implements LatentLevelNetwork {
  readonly latentSize: number;
  readonly stub: Stub;
  readonly #d: number;
  readonly #e: number;

  constructor(o: StubOptions & { readonly d: number; readonly e: number; readonly latentSize: number }) {
    super();
    this.stub = new Stub(o);
    this.latentSize = o.latentSize;
    this.#d = o.d;
    this.#e = o.e;
  }

  get seen(): readonly Tensor[] {
    return this.stub.seen;
  }

  encode(_x: Tensor, target: Tensor): LatentPosterior {
    const mean = target.flatten(1);
    return { mean, logVariance: full(mean.shape, Number.NEGATIVE_INFINITY, { dtype: "float64" }) };
  }

  forward(x: Tensor, times: LevelTimes, latent: Tensor): Tensor {
    const out = this.stub.forward(x, times);
    if (latent.dim(1) !== x.size / x.dim(0))
      return out.add(latent.mean([1]).mul(this.#e).reshape([-1, 1, 1, 1]));
    return out.add(latent.reshape(x.shape).sub(x).mul(this.#d));
  }
}

/** Official names, with the kernels that the framework has for MNIST. */
export function degradationNamed(name: string, levels: number): Degradation {
  const kind = name.replace("blur_bansal", "gaussian-blur").replace("_", "-");
  return createDegradation(degradationSchema.parse({ kind, levels }));
}

export type Changes = Partial<ColdWalkOptions> & { readonly degradation: Degradation };

/** What systems of images 1 x 12 x 12 have where nothing else is said. */
export function walkOptions(o: Changes): ColdWalkOptions {
  const shape = [1, 12, 12] as const;
  return {
    ...{ shape, start: createStart({ kind: "black" }, { degradation: o.degradation, shape }), startNoise: 0 },
    ...{ prediction: "previous", numbering: "from-zero", inputNoise: 0, stepNoise: 0, clamp: [-1, 1] },
    ...{ jump: 1, trainedJumps: "one" },
    ...o,
  };
}

export function coldOf(
  network: LevelNetwork,
  o: Changes & Partial<Pick<ColdOptions, "loss" | "lossWeighting" | "overlookedNoise">>,
): ColdDiffusion {
  const system = new ColdDiffusion({
    ...{ network, loss: { distance: "l2", reduction: "sum" }, lossWeighting: "none", overlookedNoise: 0 },
    ...walkOptions(o),
    ...o,
  });
  return system.initialise(new Streams(0), { dtype: "float64" });
}

export function vcdOf(
  network: LatentLevelNetwork,
  o: Changes & Partial<Omit<VcdOptions, keyof ColdWalkOptions | "network">>,
): VariationalColdDiffusion {
  const system = new VariationalColdDiffusion({
    ...{ network, loss: { distance: "l2", reduction: "sum" }, lossWeighting: "none", beta: 0.004 },
    ...{ klAnnealing: 0, perturbation: "none", overlookedNoise: 0, inputDropout: 0, latentMode: "shared" },
    teacher: {
      level: "input",
      resetProbability: 0.125,
      warmResetProbability: 0.3,
      warmup: 500,
      counter: "official",
    },
    ...walkOptions(o),
    ...o,
  });
  return system.initialise(new Streams(0), { dtype: "float64" });
}

/** Levels of the official indices t = level - 1, as systems draw them. */
export function levelsOf(
  t: Tensor,
  to = (level: number) => level - 1,
): {
  readonly from: Tensor;
  readonly to: Tensor;
  readonly fromLevels: readonly number[];
  readonly toLevels: readonly number[];
} {
  const fromLevels = t.toArray().map((index) => index + 1);
  const toLevels = fromLevels.map(to);
  const as = (levels: readonly number[]) => cat(levels.map((level) => full([1], level, { dtype: "int64" })));
  return { from: as(fromLevels), to: as(toLevels), fromLevels, toLevels };
}
