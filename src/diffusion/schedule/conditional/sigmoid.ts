/** Sigmoid schedules of MuLAN's ablations: a piece of a sigmoid between two ends, or one on top of a line. */
import { Linear } from "../../../nn/index.js";
import type { Tensor } from "../../../torch/index.js";
import type { NoiseCurve, ScheduleEnds } from "../schedule.js";
import { CoefficientNetwork } from "./coefficients.js";
import { between, type CurveEnds, curveOf, fixedEnds, LearnedEnds } from "./curve.js";
import { type ConditionalContext, ConditionalSchedule } from "./schedule.js";

/**
 * `gamma(t) = gamma0 + range (s(w t + b) - s(b)) / (s(w + b) - s(b))`, s the sigmoid, of `w > 0` and `b`, float64
 * `[B, D]`. Written with `s(x + b) - s(b) = -s(x + b) s(-b) expm1(-x)`: the difference itself loses digits for small w.
 */
export function sigmoidCurve(w: Tensor, b: Tensor, ends: CurveEnds): NoiseCurve {
  const full = w.add(b).sigmoid().mul(w.neg().expm1()); // up to -s(-b), which cancels
  const scale = full.mul(b.neg().sigmoid()).neg(); // s(w + b) - s(b)
  return curveOf((t) => {
    const x = w.mul(t);
    const s = x.add(b).sigmoid();
    const fraction = s.mul(x.neg().expm1()).div(full);
    const slope = w.mul(s).mul(x.add(b).neg().sigmoid()).div(scale); // s' = s(x) s(-x)
    return between(ends, fraction, slope);
  });
}

/** `w = 1/100 + softplus(raw)`, `b = clip(raw, -3, 3)`: the denominator stays above 4e-4. */
export function sigmoidCoefficients(wRaw: Tensor, bRaw: Tensor): { readonly w: Tensor; readonly b: Tensor } {
  return { w: wRaw.softplus().add(0.01), b: bRaw.clamp(-3, 3) };
}

export interface SigmoidOptions extends ScheduleEnds, ConditionalContext {
  /** F, width of the coefficient network. Default D. */
  readonly hidden?: number | undefined;
  /** `fixed`, the default, as in the paper; or learned for each pixel, as in the code. */
  readonly ends?: "fixed" | "learned";
}

/** `sigmoidCurve` of every pixel, w and b functions of z. */
export class SigmoidSchedule extends ConditionalSchedule {
  readonly network: CoefficientNetwork;
  readonly w: Linear;
  readonly b: Linear;
  readonly ends: LearnedEnds | undefined;
  readonly #fixed: CurveEnds;

  constructor(options: SigmoidOptions) {
    super();
    const { latentSize, dimensions, hidden = dimensions, ends = "fixed" } = options;
    this.network = new CoefficientNetwork(latentSize, hidden);
    this.w = new Linear(hidden, dimensions);
    this.b = new Linear(hidden, dimensions);
    this.ends = ends === "learned" ? new LearnedEnds(dimensions, options) : undefined;
    this.#fixed = fixedEnds(options);
  }

  given(z: Tensor): NoiseCurve {
    const h = this.network.forward(z);
    const { w, b } = sigmoidCoefficients(this.w.forward(h).to("float64"), this.b.forward(h).to("float64"));
    return sigmoidCurve(w, b, this.ends ? this.ends.get() : this.#fixed);
  }
}

/** `gamma(t) = gamma0 + range t + height s(w t + b)` of `height, w > 0` and `b`, float64 `[B, D]`. */
export function affineSigmoidCurve(
  coefficients: { readonly height: Tensor; readonly w: Tensor; readonly b: Tensor },
  ends: CurveEnds,
): NoiseCurve {
  const { height, w, b } = coefficients;
  return curveOf((t) => {
    const line = between(ends, t, t.mul(0).add(1));
    const x = w.mul(t).add(b);
    const s = x.sigmoid();
    return {
      gamma: line.gamma.add(height.mul(s)),
      dGamma: line.dGamma.add(height.mul(w).mul(s).mul(x.neg().sigmoid())),
    };
  });
}

/** A line of every pixel's own plus a sigmoid that follows z (`sigmoid_2` in MuLAN's code); the ends are free. */
export class AffineSigmoidSchedule extends ConditionalSchedule {
  readonly network: CoefficientNetwork;
  readonly height: Linear;
  readonly w: Linear;
  readonly b: Linear;
  readonly line: LearnedEnds;

  constructor(options: ScheduleEnds & ConditionalContext & { readonly hidden?: number | undefined }) {
    super();
    const { latentSize, dimensions, hidden = dimensions } = options;
    this.network = new CoefficientNetwork(latentSize, hidden);
    this.height = new Linear(hidden, dimensions);
    this.w = new Linear(hidden, dimensions);
    this.b = new Linear(hidden, dimensions);
    this.line = new LearnedEnds(dimensions, options);
  }

  given(z: Tensor): NoiseCurve {
    const h = this.network.forward(z);
    const head = (layer: Linear) => layer.forward(h).to("float64");
    const height = head(this.height).softplus();
    const w = head(this.w).softplus();
    return affineSigmoidCurve({ height, w, b: head(this.b) }, this.line.get());
  }
}
