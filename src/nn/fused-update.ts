/** AdamW and the moving average in libtorch's kernels over many tensors; what changes from step to step is a tensor. */
import { UserError } from "../errors.js";
import { call, full, schema, stack, type Tensor, tensor, zerosLike } from "../torch/index.js";
import type { AdamW } from "./optimiser.js";

const adamw = "aten::_fused_adamw_.tensor_lr";

/** Whether this libtorch has the kernel, on the CPU too (2.4 and newer). */
export function hasFusedUpdate(): boolean {
  try {
    schema(adamw);
    return true;
  } catch {
    return false;
  }
}

/** The L2 norm of all gradients together, a scalar on their device. */
export function gradientNorm(gradients: readonly Tensor[]): Tensor {
  const norms = call("aten::_foreach_norm.Scalar", gradients, 2) as Tensor[];
  return stack(norms).square().sum().sqrt();
}

/** Parameters, by their places, that share what the kernel takes as numbers. */
interface Group {
  readonly factor: number;
  readonly weightDecay: number;
  readonly members: number[];
}

/**
 * The update of an `AdamW`, to rounding (numbers of steps and rates are float32 here). `prepare` writes the learning rate
 * to the device, without waiting; `apply` reads nothing of the host but which parameters have begun, so that a recording
 * of it holds for as long as no other begins.
 */
export class FusedUpdate {
  readonly #optimiser: AdamW;
  readonly #factors: readonly number[];
  /** By factor. */
  readonly #rates = new Map<number, Tensor>();
  /** k of each parameter, behind step `#counted` of the optimiser. */
  #steps: readonly Tensor[] = [];
  #counted = Number.NaN;

  constructor(optimiser: AdamW, factors: readonly number[]) {
    if (!hasFusedUpdate())
      throw new UserError(
        "expected a libtorch with fused AdamW for train.graph on, got one without: use libtorch 2.4 or newer, or train.graph off",
      );
    if (optimiser.options.emaRamp === "ramp")
      throw new UserError(
        "expected optimiser.emaRamp none for train.graph on, got ramp: a CUDA graph holds one rate of the average",
      );
    this.#optimiser = optimiser;
    this.#factors = factors;
  }

  /** Before the optimiser counts the step. */
  prepare(learningRate: number): void {
    const { count, parameters, begun } = this.#optimiser;
    const device = parameters[0]?.value.device ?? "cpu";
    for (const factor of new Set(this.#factors)) {
      const rate = this.#rates.get(factor) ?? full([], 0, { device }).keep();
      call("aten::fill_.Scalar", rate, learningRate * factor);
      this.#rates.set(factor, rate);
    }
    if (this.#counted !== count)
      this.#countFrom(begun.map((first) => (Number.isNaN(first) ? 0 : count - first)));
    this.#counted = count + 1;
  }

  #countFrom(steps: readonly number[]): void {
    for (const step of this.#steps) step.dispose();
    const { parameters } = this.#optimiser;
    this.#steps = steps.map((k, i) => tensor(k, { device: parameters[i]?.value.device ?? "cpu" }).keep());
  }

  apply(): void {
    const { parameters, first, second, average, options } = this.#optimiser;
    const { betas, epsilon, clipNorm, emaRate } = options;
    const values = parameters.map((p) => p.value);
    const gradients = values.map((value) => value.grad ?? zerosLike(value));
    // The kernel divides by it: max(1, norm / clipNorm).
    const scale = clipNorm === null ? null : gradientNorm(gradients).div(clipNorm).clamp(1);
    for (const { factor, weightDecay, members } of this.#groups()) {
      const of = (all: readonly Tensor[]) => members.map((i) => all[i] as Tensor);
      call("aten::_foreach_add_.Scalar", of(this.#steps), 1);
      call(
        adamw,
        of(values),
        of(gradients),
        of(first),
        of(second),
        [],
        of(this.#steps),
        this.#rates.get(factor),
        betas[0],
        betas[1],
        weightDecay,
        epsilon,
        false, // amsgrad
        false, // maximize
        scale,
        null,
      );
      call("aten::_foreach_lerp_.Scalar", of(average), of(values), 1 - emaRate);
    }
  }

  /** The parameters that have begun. */
  #groups(): readonly Group[] {
    const { parameters, begun, options } = this.#optimiser;
    const groups = new Map<string, Group>();
    for (const [i, { decay, value }] of parameters.entries()) {
      if (Number.isNaN(begun[i])) continue;
      const factor = this.#factors[i] as number;
      const weightDecay = decay && value.requiresGrad ? options.weightDecay : 0;
      const key = `${factor} ${weightDecay}`;
      const group = groups.get(key) ?? { factor, weightDecay, members: [] };
      group.members.push(i);
      groups.set(key, group);
    }
    return [...groups.values()];
  }

  dispose(): void {
    for (const kept of [...this.#rates.values(), ...this.#steps]) kept.dispose();
  }
}
