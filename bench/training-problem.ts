/** A training step of VDM as `train` takes it, on images of random pixels: what the benchmarks of training share. */
import { bitsPerDim, FixedLinear, totalBound } from "varidiff/diffusion";
import { VdmUnet } from "varidiff/networks";
import { AdamW } from "varidiff/nn";
import { type GaussianDraws, VDM } from "varidiff/systems";
import { type FloatDtype, noGrad, rand, randint, randn, Streams, scope, type Tensor } from "varidiff/torch";

export interface ProblemSize {
  /** `[C, H, W]` */
  readonly shape: readonly [number, number, number];
  readonly batch: number;
  readonly channels: number;
  readonly depth: number;
}

export const fashion: ProblemSize = { shape: [1, 28, 28], batch: 64, channels: 64, depth: 4 };
export const cifar: ProblemSize = { shape: [3, 32, 32], batch: 32, channels: 64, depth: 4 };

const ends = { gammaMin: -13.3, gammaMax: 5 };

/** bench/python/vdm.py has the same constants. Without dropout: ATen's is serial, which would flatter ours. */
const optimiserOptions = {
  learningRate: 2e-4,
  betas: [0.9, 0.99],
  epsilon: 1e-8,
  weightDecay: 0.01,
  warmupSteps: 0,
  decay: "constant",
  totalSteps: 1,
  clipNorm: null,
  emaRate: 0.999,
} as const;

export class TrainingProblem {
  readonly system: VDM;
  readonly pixels: Tensor;
  readonly draws: GaussianDraws;
  readonly #optimiser: AdamW;
  readonly #streams = new Streams(1);

  constructor({ shape, batch, channels, depth }: ProblemSize) {
    const denoiser = new VdmUnet({
      imageChannels: shape[0],
      channels,
      depth,
      attention: "middle",
      fourierExponents: [6, 7],
      dropout: 0,
      ...ends,
    });
    this.system = new VDM({ shape, schedule: new FixedLinear(ends), denoiser });
    this.system.initialise(this.#streams);
    const generator = this.#streams.generator("data");
    // Off the initial values: where the output convolution is zero, a mistake before it would not show.
    for (const parameter of this.system.parameters())
      scope(() => parameter.set(parameter.value.detach().add(randn(parameter.shape, generator).mul(0.02))));
    const images = [batch, ...shape];
    this.pixels = randint(0, 256, images, generator, { dtype: "uint8" }).keep();
    this.draws = {
      t: rand([batch], generator, { dtype: "float64" }).keep(),
      eps: randn(images, generator).keep(),
      eps0: randn(images, generator).keep(),
    };
    this.#optimiser = new AdamW(this.system.parameters(), optimiserOptions);
  }

  /** The loss at the problem's own draws, and one update by it. */
  knownStep(precision: FloatDtype): number {
    return scope(() => {
      const { bound } = this.system.evaluate(this.pixels.to("float32"), this.draws, { pass: { precision } });
      const loss = bitsPerDim(totalBound(bound), this.system.dimensions).mean();
      loss.backward();
      this.#optimiser.step();
      return loss.item();
    });
  }

  /** One step with fresh draws. */
  step(precision: FloatDtype): void {
    scope(() => {
      this.system.backward(this.#objective(precision));
      this.#optimiser.step();
    });
  }

  /** The loss alone. */
  forward(precision: FloatDtype): void {
    scope(() => noGrad(() => this.#objective(precision)));
  }

  #objective(precision: FloatDtype) {
    const step = this.#optimiser.count;
    return this.system.objective(
      { pixels: this.pixels },
      {
        step,
        streams: this.#streams.at(step),
        pass: { precision },
        averaged: (run) => this.#optimiser.averaged(run),
      },
    );
  }

  dispose(): void {
    this.system.dispose();
    this.#optimiser.dispose();
    for (const tensor of [this.pixels, ...Object.values(this.draws)]) tensor.dispose();
  }
}
