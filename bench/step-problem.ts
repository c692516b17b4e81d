/** Training steps as `train` takes them, on images of random pixels: what the benchmarks of training share. */
import type { Batch, ImageModel, Recompute, StepContext } from "varidiff/diffusion";
import type { CapturedStep } from "varidiff/experiment";
import { AdamW, type AdamWOptions } from "varidiff/nn";
import { type FloatDtype, noGrad, scope, type Tensor } from "varidiff/torch";
import { knownImages, Problem } from "./problem.js";

/** Steps whose losses both sides must agree on. */
const knownSteps = 3;

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

/** A system with its optimiser. */
export abstract class StepProblem<S extends ImageModel = ImageModel> extends Problem<S> {
  readonly #optimiser: AdamW;
  #captured: CapturedStep | undefined;

  constructor(system: S, batch: number, { optimiser = usualOptimiser, device }: StepProblemOptions = {}) {
    super(system, batch, device);
    this.#optimiser = new AdamW(system.parameters(), optimiser);
  }

  /** The loss of images at the problem's own draws, without dropout. */
  protected abstract knownLoss(pixels: Tensor, precision: FloatDtype): Tensor;

  /** The losses of the first images at the problem's own draws, with an update by each. */
  async known(precision: FloatDtype): Promise<readonly (readonly number[])[]> {
    return Array.from({ length: knownSteps }, () => [
      scope(() => {
        const loss = this.knownLoss(this.pixels.narrow(0, 0, knownImages), precision);
        loss.backward();
        this.#optimiser.step();
        return loss.item();
      }),
    ]);
  }

  async run(precision: FloatDtype): Promise<void> {
    this.step(precision);
  }

  override async capture(): Promise<void> {
    // Here alone: what comes with the module would count in the memory of every row.
    const { CapturedStep } = await import("varidiff/experiment");
    this.#captured = new CapturedStep(this.system, this.#optimiser, { device: this.device });
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
    const streams = this.streams.at(step);
    return {
      batch: { pixels: this.pixels },
      context: {
        ...{ step, streams },
        pass: { precision, recompute, dropout: streams.dropoutKeys() },
        averaged: (run) => this.#optimiser.averaged(run),
      },
    };
  }

  override dispose(): void {
    this.#captured?.dispose();
    super.dispose();
    this.#optimiser.dispose();
  }
}
