/** What a noise schedule is: gamma(t) = -log SNR(t), increasing, differentiable twice over. */
import { Module, type Parameter } from "../../nn/index.js";
import { linspace, type Tensor } from "../../torch/index.js";

/** gamma and its derivative at some times, both differentiable in the schedule's parameters. */
export interface ScheduleValue {
  readonly gamma: Tensor;
  readonly dGamma: Tensor;
}

/** gamma at the times of a batch: `t` `[B]` gives `[B]`, or `[B, D]` where each of the D pixels has its own. */
export interface NoiseCurve {
  at(t: Tensor): ScheduleValue;
}

/**
 * `gamma(t)` on [0, 1], strictly increasing; times of any shape give values of that shape. Everything about the noise
 * level follows from it: `alpha^2 = sigmoid(-gamma)`, `sigma^2 = sigmoid(gamma)`, `SNR = exp(-gamma)` (VDM, eq. 2-5).
 */
export abstract class NoiseSchedule extends Module {
  /**
   * gamma(t) and gamma'(t), the latter in closed form, so that reverse mode differentiates it. Computed in the dtype
   * of `t` whatever that of the parameters: with many steps, neighbouring levels differ by less than float32 can tell.
   */
  abstract at(t: Tensor): ScheduleValue;

  /**
   * The parameters split for the variance-minimising update (VDM, section 5.3): `ends` move gamma(0) and gamma(1),
   * `interior` only the way between them. Undefined where the two cannot be told apart.
   */
  split(): { readonly interior: readonly Parameter[]; readonly ends: readonly Parameter[] } | undefined {
    return undefined;
  }

  /** gamma(0) where it is a constant. */
  get start(): number | undefined {
    return undefined;
  }

  /** gamma(0) and gamma(1), each float64 [1]. */
  ends(device = "cpu"): { readonly gamma0: Tensor; readonly gamma1: Tensor } {
    const { gamma } = this.at(linspace(0, 1, 2, { dtype: "float64", device })); // made on the device, without a wait for it
    return { gamma0: gamma.narrow(0, 0, 1), gamma1: gamma.narrow(0, 1, 1) };
  }
}

/** Where a schedule starts and ends; with a learned one, where it is initialised. */
export interface ScheduleEnds {
  readonly gammaMin: number;
  readonly gammaMax: number;
}
