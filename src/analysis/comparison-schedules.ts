/** The schedules that are in common use, each between two end points of choice, for comparison. */
import { NoiseSchedule, type ScheduleEnds, type ScheduleValue } from "../diffusion/schedule/index.js";
import type { Tensor } from "../torch/index.js";

/** `ln(1 + exp(u))` */
const softplus = (u: number): number => Math.max(u, 0) + Math.log1p(Math.exp(-Math.abs(u)));

/**
 * DDPM's schedule, `beta(t)` linear in t (Ho et al., 2020), in the continuous form that VDM compares with:
 *
 *   alpha^2(t) = exp(-b(t)),  b(t) = b0 + (b1 - b0) t^2,  gamma(t) = ln(exp(b(t)) - 1)
 *
 * There b0 = 1e-4 and b1 = 10 + 1e-4. Here `b = -ln alpha^2 = softplus(gamma)` is that of the two end points.
 */
export class BetaLinear extends NoiseSchedule {
  readonly #b0: number;
  readonly #range: number;

  constructor({ gammaMin, gammaMax }: ScheduleEnds) {
    super();
    this.#b0 = softplus(gammaMin);
    this.#range = softplus(gammaMax) - this.#b0;
  }

  at(t: Tensor): ScheduleValue {
    const b = t.square().mul(this.#range).add(this.#b0);
    // d ln(e^b - 1)/db = 1 / (1 - e^-b)
    const dGamma = t.mul(2 * this.#range).div(b.neg().expm1().neg());
    return { gamma: b.expm1().log(), dGamma };
  }
}

/**
 * The cosine schedule (Nichol and Dhariwal, 2021), cut where it reaches the end points, as Hoogeboom et al. (2023,
 * "simple diffusion") do instead of shifting it:
 *
 *   alpha(t) = cos(theta(t)),  gamma(t) = 2 ln tan(theta(t)),  theta linear from atan(e^(gammaMin/2)) to atan(e^(gammaMax/2))
 */
export class AlphaCosine extends NoiseSchedule {
  readonly #theta0: number;
  readonly #range: number;

  constructor({ gammaMin, gammaMax }: ScheduleEnds) {
    super();
    this.#theta0 = Math.atan(Math.exp(gammaMin / 2));
    this.#range = Math.atan(Math.exp(gammaMax / 2)) - this.#theta0;
  }

  at(t: Tensor): ScheduleValue {
    const theta = t.mul(this.#range).add(this.#theta0);
    // d(2 ln tan theta)/dtheta = 2 / (sin theta cos theta) = 4 / sin(2 theta)
    const dGamma = theta
      .mul(2)
      .sin()
      .reciprocal()
      .mul(4 * this.#range);
    return { gamma: theta.sin().div(theta.cos()).log().mul(2), dGamma };
  }
}
