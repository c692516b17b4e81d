/** Schedules that are a line or a fixed polynomial. */
import { constant, Parameter } from "../../nn/index.js";
import { full, type Tensor } from "../../torch/index.js";
import { NoiseSchedule, type ScheduleEnds, type ScheduleValue } from "./schedule.js";

function constantLike(t: Tensor, value: number): Tensor {
  return full(t.shape, value, { dtype: t.dtype, device: t.device });
}

/** `gamma(t) = gammaMin + (gammaMax - gammaMin) t`, no parameters (VDM's `fixed`). */
export class FixedLinear extends NoiseSchedule {
  readonly #min: number;
  readonly #range: number;

  constructor({ gammaMin, gammaMax }: ScheduleEnds) {
    super();
    this.#min = gammaMin;
    this.#range = gammaMax - gammaMin;
  }

  override get start(): number {
    return this.#min;
  }

  at(t: Tensor): ScheduleValue {
    return { gamma: t.mul(this.#range).add(this.#min), dGamma: constantLike(t, this.#range) };
  }
}

/** `gamma(t) = (gammaMax / 2) t^10 + (gammaMax / 2 - gammaMin) t + gammaMin` (DiffEnc's code). */
export class Polynomial10 extends NoiseSchedule {
  readonly #ends: ScheduleEnds;

  constructor(ends: ScheduleEnds) {
    super();
    this.#ends = ends;
  }

  override get start(): number {
    return this.#ends.gammaMin;
  }

  at(t: Tensor): ScheduleValue {
    const { gammaMin, gammaMax } = this.#ends;
    const half = gammaMax / 2;
    const t9 = t.pow(9);
    return {
      gamma: t9
        .mul(t)
        .mul(half)
        .add(t.mul(half - gammaMin))
        .add(gammaMin),
      dGamma: t9.mul(10 * half).add(half - gammaMin),
    };
  }
}

/** `gamma(t) = b + |w| t` with both learned (VDM's `learnable_scalar`). */
export class LearnedLinear extends NoiseSchedule {
  readonly w: Parameter;
  readonly b: Parameter;

  constructor({ gammaMin, gammaMax }: ScheduleEnds) {
    super();
    this.w = new Parameter([1], constant(gammaMax - gammaMin));
    this.b = new Parameter([1], constant(gammaMin));
  }

  at(t: Tensor): ScheduleValue {
    const scalar = (parameter: Parameter) => parameter.value.to(t.dtype).reshape([]);
    const slope = scalar(this.w).abs();
    return { gamma: t.mul(slope).add(scalar(this.b)), dGamma: slope.expand(t.shape) };
  }
}
