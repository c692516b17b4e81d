/** Training steps as `train` takes them, on images of random pixels: what the benchmarks of training share, and VDM's. */
import { bitsPerDim, FixedLinear, type ImageModel, type Objective, totalBound } from "varidiff/diffusion";
import { VdmUnet } from "varidiff/networks";
import { AdamW } from "varidiff/nn";
import { VDM } from "varidiff/systems";
import {
  type FloatDtype,
  type Generator,
  noGrad,
  rand,
  randint,
  randn,
  Streams,
  scope,
  type Tensor,
} from "varidiff/torch";

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

/** The Python side has the same constants. */
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

/** A system with its optimiser, a batch, and draws that another side can be given. */
export abstract class StepProblem<S extends ImageModel = ImageModel> {
  readonly system: S;
  readonly pixels: Tensor;
  /** By the names that the other side knows them by. */
  abstract readonly draws: Readonly<Record<string, Tensor>>;
  protected readonly generator: Generator;
  readonly #optimiser: AdamW;
  readonly #streams = new Streams(1);

  /** Without dropout: ATen's is serial, which would flatter ours. */
  constructor(system: S, batch: number) {
    this.system = system;
    system.initialise(this.#streams);
    const generator = this.#streams.generator("data");
    // Off the initial values: where the output convolution is zero, a mistake before it would not show.
    for (const parameter of system.parameters())
      scope(() => parameter.set(parameter.value.detach().add(randn(parameter.shape, generator).mul(0.02))));
    this.pixels = randint(0, 256, [batch, ...system.shape], generator, { dtype: "uint8" }).keep();
    this.generator = generator;
    this.#optimiser = new AdamW(system.parameters(), optimiserOptions);
  }

  /** The loss at the problem's own draws. */
  protected abstract knownLoss(precision: FloatDtype): Tensor;

  /** The loss at the problem's own draws, and one update by it. */
  knownStep(precision: FloatDtype): number {
    return scope(() => {
      const loss = this.knownLoss(precision);
      loss.backward();
      this.#optimiser.step();
      return loss.item();
    });
  }

  /** One step with fresh draws. */
  step(precision: FloatDtype): void {
    scope(() => {
      const objective = this.#objective(precision);
      if (this.system.backward) this.system.backward(objective);
      else objective.loss.backward();
      this.#optimiser.step();
    });
  }

  /** The loss alone. */
  forward(precision: FloatDtype): void {
    scope(() => noGrad(() => this.#objective(precision)));
  }

  #objective(precision: FloatDtype): Objective {
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

/** VDM's; bench/python/vdm.py is the other side. */
export class TrainingProblem extends StepProblem<VDM> {
  readonly draws: { readonly t: Tensor; readonly eps: Tensor; readonly eps0: Tensor };

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
    super(new VDM({ shape, schedule: new FixedLinear(ends), denoiser }), batch);
    const images = [batch, ...shape];
    this.draws = {
      t: rand([batch], this.generator, { dtype: "float64" }).keep(),
      eps: randn(images, this.generator).keep(),
      eps0: randn(images, this.generator).keep(),
    };
  }

  protected knownLoss(precision: FloatDtype): Tensor {
    const { bound } = this.system.evaluate(this.pixels.to("float32"), this.draws, { pass: { precision } });
    return bitsPerDim(totalBound(bound), this.system.dimensions).mean();
  }
}
