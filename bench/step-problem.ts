/** Training steps as `train` takes them, on images of random pixels: what the benchmarks of training share. */
import type { Batch, ImageModel, Recompute, StepContext } from "varidiff/diffusion";
import type { CapturedStep } from "varidiff/experiment";
import { AdamW, type AdamWOptions } from "varidiff/nn";
import {
  type FloatDtype,
  type Generator,
  noGrad,
  randint,
  randn,
  Streams,
  scope,
  type Tensor,
} from "varidiff/torch";

/** Images of the steps that both sides must agree on: few, so that they leave no mark on the memory of those measured. */
export const knownImages = 4;

/** bench/python/steps.py has the same constants. */
const usualOptimiser: AdamWOptions = {
  learningRate: 2e-4,
  betas: [0.9, 0.99],
  epsilon: 1e-8,
  weightDecay: 0.01,
  warmupSteps: 0,
  decay: "constant",
  totalSteps: 1,
  clipNorm: null,
  emaRate: 0.999,
};

export interface StepProblemOptions {
  readonly optimiser?: AdamWOptions;
  /** Default `cpu`. */
  readonly device?: string;
}

/** A system with its optimiser, a batch, and draws that another side can be given. */
export abstract class StepProblem<S extends ImageModel = ImageModel> {
  readonly system: S;
  readonly pixels: Tensor;
  /** For the first images, by the names that the other side knows them by. */
  abstract readonly draws: Readonly<Record<string, Tensor>>;
  protected readonly generator: Generator;
  readonly #optimiser: AdamW;
  readonly #streams = new Streams(1);
  readonly #device: string;
  #captured: CapturedStep | undefined;

  constructor(system: S, batch: number, options: StepProblemOptions = {}) {
    const { optimiser = usualOptimiser, device = "cpu" } = options;
    this.system = system;
    this.#device = device;
    system.initialise(this.#streams, { device });
    const generator = this.#streams.generator("data");
    // Off the initial values: where the output convolution is zero, a mistake before it would not show.
    for (const parameter of system.parameters())
      scope(() =>
        parameter.set(
          parameter.value.detach().add(randn(parameter.shape, generator).mul(0.02).toDevice(device)),
        ),
      );
    this.pixels = this.placed(randint(0, 256, [batch, ...system.shape], generator, { dtype: "uint8" }));
    this.generator = generator;
    this.#optimiser = new AdamW(system.parameters(), optimiser);
  }

  /** On the device, for as long as the problem is. */
  protected placed(drawn: Tensor): Tensor {
    return drawn.toDevice(this.#device).keep();
  }

  /** The loss of images at the problem's own draws, without dropout. */
  protected abstract knownLoss(pixels: Tensor, precision: FloatDtype): Tensor;

  /** The loss of the first images at the problem's own draws, and one update by it. */
  knownStep(precision: FloatDtype): number {
    return scope(() => {
      const loss = this.knownLoss(this.pixels.narrow(0, 0, knownImages), precision);
      loss.backward();
      this.#optimiser.step();
      return loss.item();
    });
  }

  /** From now on steps are launched as a CUDA graph. @throws UserError where the system's cannot be captured */
  async captureSteps(): Promise<void> {
    // Here alone: what comes with the module would count in the memory of every row.
    const { CapturedStep } = await import("varidiff/experiment");
    this.#captured = new CapturedStep(this.system, this.#optimiser, { device: this.#device });
  }

  /** One step with fresh draws. */
  step(precision: FloatDtype, recompute: Recompute = "none"): void {
    scope(() => {
      const { batch, context } = this.#drawn(precision, recompute);
      if (this.#captured) {
        this.#captured.take(batch, context);
        return;
      }
      const objective = this.system.objective(batch, context);
      if (this.system.backward) this.system.backward(objective);
      else objective.loss.backward();
      this.#optimiser.step();
    });
  }

  /** The loss alone. */
  forward(precision: FloatDtype): void {
    scope(() =>
      noGrad(() => {
        const { batch, context } = this.#drawn(precision);
        return this.system.objective(batch, context);
      }),
    );
  }

  #drawn(
    precision: FloatDtype,
    recompute: Recompute = "none",
  ): { readonly batch: Batch; readonly context: StepContext } {
    const step = this.#optimiser.count;
    const streams = this.#streams.at(step);
    return {
      batch: { pixels: this.pixels },
      context: {
        ...{ step, streams },
        pass: { precision, recompute, dropout: streams.dropoutKeys() },
        averaged: (run) => this.#optimiser.averaged(run),
      },
    };
  }

  dispose(): void {
    this.#captured?.dispose();
    this.system.dispose();
    this.#optimiser.dispose();
    for (const tensor of [this.pixels, ...Object.values(this.draws)]) tensor.dispose();
  }
}
