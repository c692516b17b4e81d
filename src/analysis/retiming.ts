/** One noise schedule run at the pace of another. */
import type { NoiseSchedule } from "../diffusion/schedule/index.js";
import { ones, type Tensor, zeros } from "../torch/index.js";

/** The times at which a schedule reaches the levels `gamma` (float64), by bisection of [0, 1] down to its last bit. */
export function timesAt(schedule: NoiseSchedule, gamma: Tensor): Tensor {
  const options = { dtype: "float64", device: gamma.device } as const;
  let low = zeros(gamma.shape, options);
  let high = ones(gamma.shape, options);
  for (let bit = 0; bit < 53; bit++) {
    const middle = low.add(high).div(2);
    const later = schedule.at(middle).gamma.lt(gamma);
    low = later.where(middle, low);
    high = later.where(high, middle);
  }
  return low.add(high).div(2);
}

/** Where a schedule is when it keeps another's pace, and how fast its own time passes there. */
export interface Retimed {
  readonly t: Tensor;
  readonly rate: Tensor;
}

/**
 * The change of variable under which the continuous bound does not change (VDM, eq. 18): with `own(u(t)) = other(t)`,
 *
 *   integral L(u) du = integral L(u(t)) u'(t) dt,  u'(t) = other'(t) / own'(u(t))
 *
 * so `L(u(t)) u'(t)` is the loss at t that the same model would have under the other schedule. Both must have the same
 * end points.
 */
export function retimed(own: NoiseSchedule, other: NoiseSchedule, t: Tensor): Retimed {
  const { gamma, dGamma } = other.at(t);
  const u = timesAt(own, gamma);
  return { t: u, rate: dGamma.div(own.at(u).dGamma) };
}
