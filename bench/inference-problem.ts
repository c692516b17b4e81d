/** Sampling and the bound as `sample` and `evaluate` do them: what the benchmarks of inference share. */
import {
  type BoundedLikelihood,
  bitsPerDim,
  type DiffusionSystem,
  type SampleView,
  sample,
  sampleTimes,
  totalBound,
} from "varidiff/diffusion";
import { type FloatDtype, noGrad, randn, Streams, scope, stack, type Tensor } from "varidiff/torch";
import { knownImages, type OtherSide, Problem } from "./problem.js";

/** Of the draws that both sides are given. */
const knownSeed = 2;

/** How a model is sampled from. */
export interface Walk {
  readonly sampler: string;
  /** Evaluations of the network for an image. */
  readonly steps: number;
  readonly batch: number;
}

/** The draws of known samples besides `start`, by the names that Python knows them by; `streams` as the sampler is given them. */
export type WalkDraws<S> = (system: S, streams: Streams, walk: Walk) => Record<string, Tensor>;

/** The noise of each step, `[steps, images, C, H, W]`. */
export const stepNoise: WalkDraws<DiffusionSystem> = ({ shape }, streams, { steps }) => ({
  noise: stack(
    Array.from({ length: steps }, (_, i) =>
      randn([knownImages, ...shape], streams.at(i).generator("sample/noise")),
    ),
    0,
  ),
});

/** All steps of a sampler, from noise to pixels. */
export class SamplingProblem<S extends DiffusionSystem = DiffusionSystem> extends Problem<S> {
  readonly otherSide: OtherSide;
  readonly draws: Readonly<Record<string, Tensor>>;
  override readonly unit: string;
  /** Of whole images, whose pixels no sum evens out. */
  override readonly tolerance = 1e-3;
  readonly #walk: Walk;
  #runs = 0;

  constructor(
    system: S,
    { script, draws, ...walk }: Walk & { readonly script: string; readonly draws: WalkDraws<S> },
    device = "cpu",
  ) {
    super(system, walk.batch, device);
    this.#walk = walk;
    this.otherSide = { script, work: walk.sampler };
    this.unit = `images/s, ${walk.steps} steps`;
    this.draws = scope(() => {
      const all = { ...draws(system, new Streams(knownSeed), walk), states: this.#states() };
      return Object.fromEntries(Object.entries(all).map(([name, drawn]) => [name, this.placed(drawn)]));
    });
  }

  /**
   * Where each state of a walk in float32 (`states`) leads. Neither side goes on from its own: over several steps, networks of
   * random weights make 1e-3 of a difference in rounding.
   */
  async known(precision: FloatDtype): Promise<readonly (readonly number[])[]> {
    const states = this.draws.states as Tensor;
    return scope(() =>
      noGrad(() => {
        const start = this.#start(precision);
        return Array.from({ length: this.#walk.steps }, (_, i) =>
          this.system.step({ ...start, z: states.select(0, i) }, i).z.toArray(),
        );
      }),
    );
  }

  #start(precision: FloatDtype): SampleView {
    const { sampler, steps } = this.#walk;
    const streams = new Streams(knownSeed);
    return this.system.start({ sampler, steps, streams, count: knownImages, pass: { precision } });
  }

  /** All but the last, `[steps, images, C, H, W]`. */
  #states(): Tensor {
    return noGrad(() => {
      let state = this.#start("float32");
      const states = [];
      for (let i = 0; i < this.#walk.steps; i++) {
        states.push(state.z);
        state = this.system.step(state, i);
      }
      return stack(states, 0);
    });
  }

  async run(precision: FloatDtype): Promise<void> {
    const { sampler, steps, batch } = this.#walk;
    const streams = this.streams.at(this.#runs++);
    const images = await sample(this.system, { sampler, steps, count: batch, streams, pass: { precision } });
    images.dispose();
  }
}

/** One draw of the bound. */
export class LikelihoodProblem extends Problem<DiffusionSystem & BoundedLikelihood> {
  readonly otherSide: OtherSide;
  readonly draws: Readonly<Record<string, Tensor>>;
  #runs = 0;

  constructor(
    system: DiffusionSystem & BoundedLikelihood,
    { script, batch }: { readonly script: string; readonly batch: number },
    device = "cpu",
  ) {
    super(system, batch, device);
    this.otherSide = { script, work: "bound" };
    const streams = new Streams(knownSeed);
    const normal = (name: string) =>
      this.placed(randn([knownImages, ...system.shape], streams.generator(name)));
    this.draws = {
      t: this.placed(sampleTimes("low-discrepancy", knownImages, streams.generator("times"), "cpu")),
      noise: normal("noise"),
      noise0: normal("reconstruction"),
    };
  }

  /** The terms of each image. */
  async known(precision: FloatDtype): Promise<readonly (readonly number[])[]> {
    return scope(() => {
      const pixels = this.pixels.narrow(0, 0, knownImages);
      return Object.values(this.#bound(pixels, new Streams(knownSeed), precision)).map((term) =>
        term.toArray(),
      );
    });
  }

  async run(precision: FloatDtype): Promise<void> {
    const streams = this.streams.at(this.#runs++);
    const dimensions = this.system.shape.reduce((product, n) => product * n, 1);
    scope(() => bitsPerDim(totalBound(this.#bound(this.pixels, streams, precision)), dimensions).toArray());
  }

  #bound(pixels: Tensor, streams: Streams, precision: FloatDtype) {
    return noGrad(() => this.system.bound({ pixels }, { streams, pass: { precision } }));
  }
}
