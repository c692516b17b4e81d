/** Curves that all pixels share: scalar schedules as per-pixel ones, and what may stand in for a trained schedule. */
import type { Tensor } from "../../../torch/index.js";
import { FixedLinear } from "../linear.js";
import type { NoiseCurve, NoiseSchedule, ScheduleEnds } from "../schedule.js";
import { ConditionalSchedule } from "./schedule.js";

const column = (t: Tensor): Tensor => t.reshape([-1, 1]);

/** The curve of a scalar schedule, `[B, 1]`. */
export function sharedCurve(schedule: NoiseSchedule): NoiseCurve {
  return { at: (t) => schedule.at(column(t)) };
}

/** The mean over pixels of `curve`, `[B, 1]`. */
export function meanCurve(curve: NoiseCurve): NoiseCurve {
  const mean = (x: Tensor) => x.mean([1], { keepDims: true });
  return {
    at(t) {
      const { gamma, dGamma } = curve.at(t);
      return { gamma: mean(gamma), dGamma: mean(dGamma) };
    },
  };
}

/** A scalar schedule for every pixel, whatever z: VDM's schedules as controls. */
export class SharedByPixels extends ConditionalSchedule {
  readonly schedule: NoiseSchedule;

  constructor(schedule: NoiseSchedule) {
    super();
    this.schedule = schedule;
  }

  given(_z: Tensor): NoiseCurve {
    return sharedCurve(this.schedule);
  }
}

/**
 * A scalar curve in the place of a trained one, to see what the trained one is worth: `mean` over its pixels, or the
 * line `gammaMin + (gammaMax - gammaMin) t` (MuLAN's replacement of a trained schedule).
 */
export function replaced(curve: NoiseCurve, how: "mean" | "linear", ends: ScheduleEnds): NoiseCurve {
  return how === "mean" ? meanCurve(curve) : sharedCurve(new FixedLinear(ends));
}
