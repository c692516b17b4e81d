/** Curves from formulas: where they start, how far they rise, and in what precision. */
import { constant, Module, Parameter } from "../../../nn/index.js";
import type { Tensor } from "../../../torch/index.js";
import type { NoiseCurve, ScheduleEnds, ScheduleValue } from "../schedule.js";

/** A curve from its formula in float64 columns of times, `[B, 1]`. */
export function curveOf(formula: (t: Tensor) => ScheduleValue): NoiseCurve {
  return {
    at(t) {
      const { gamma, dGamma } = formula(t.reshape([-1, 1]).to("float64"));
      return { gamma: gamma.to(t.dtype), dGamma: dGamma.to(t.dtype) };
    },
  };
}

/** `gamma(0)` and `gamma(1) - gamma(0)`: numbers, or float64 `[D]` or `[1]`. */
export interface CurveEnds {
  readonly gamma0: Tensor | number;
  readonly range: Tensor | number;
}

/** `gamma = gamma0 + range f`, `gamma' = range f'` of a fraction f that goes from 0 to 1. */
export function between({ gamma0, range }: CurveEnds, fraction: Tensor, slope: Tensor): ScheduleValue {
  return { gamma: fraction.mul(range).add(gamma0), dGamma: slope.mul(range) };
}

export function fixedEnds({ gammaMin, gammaMax }: ScheduleEnds): CurveEnds {
  return { gamma0: gammaMin, range: gammaMax - gammaMin };
}

/** End points that are learned, one pair for each of `count` pixels; the range acts through its absolute value. */
export class LearnedEnds extends Module {
  readonly gamma0: Parameter;
  readonly range: Parameter;

  constructor(count: number, { gammaMin, gammaMax }: ScheduleEnds) {
    super();
    this.gamma0 = new Parameter([count], constant(gammaMin));
    this.range = new Parameter([count], constant(gammaMax - gammaMin));
  }

  get(): CurveEnds {
    return { gamma0: this.gamma0.value.to("float64"), range: this.range.value.to("float64").abs() };
  }
}
