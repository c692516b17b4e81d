/** MuLAN's schedule: gamma' is the square of a quadratic in t, gamma its integral, a polynomial of degree five. */
import { Linear, zero } from "../../../nn/index.js";
import { ones, type Tensor } from "../../../torch/index.js";
import type { NoiseCurve, ScheduleEnds } from "../schedule.js";
import { CoefficientNetwork } from "./coefficients.js";
import { between, type CurveEnds, curveOf, fixedEnds, LearnedEnds } from "./curve.js";
import { type ConditionalContext, ConditionalSchedule } from "./schedule.js";
import { meanCurve } from "./shared.js";

/** Coefficients of `p(t) = a t^2 + b t + d`, float64 `[B, D]`. */
export interface PolynomialCoefficients {
  readonly a: Tensor;
  readonly b: Tensor;
  readonly d: Tensor;
}

/**
 * `int_0^1 (a u^2 + b u + d)^2 du` as a sum of squares (shifted Legendre polynomials), in which nothing cancels:
 * the expanded sum `a^2/5 + ab/2 + (b^2 + 2ad)/3 + bd + d^2` loses digits where the coefficients nearly do.
 */
export function squaredIntegral({ a, b, d }: PolynomialCoefficients): Tensor {
  const mean = d.add(b.div(2)).add(a.div(3));
  return mean.square().add(a.add(b).square().div(12)).add(a.square().div(180));
}

/**
 * `gamma(t) = gamma0 + range F(t) / F(1)`, `gamma'(t) = range (p(t)^2 + floor) / F(1)`, with `p(t) = a t^2 + b t + d`
 * and `F(t) = int_0^t p(u)^2 + floor du` (MuLAN, the polynomial schedule). `floor` is 0 but for the form `unit`.
 */
export function polynomialCurve(
  coefficients: PolynomialCoefficients,
  ends: CurveEnds,
  options: { readonly floor?: number } = {},
): NoiseCurve {
  const { floor = 0 } = options;
  const { a, b, d } = coefficients;
  const scale = squaredIntegral(coefficients).add(floor);
  return curveOf((t) => {
    const t2 = t.square();
    const p = a.mul(t2).add(b.mul(t)).add(d);
    // u = t s turns the integral up to t into one up to 1, of the quadratic with coefficients a t^2, b t, d.
    const F = squaredIntegral({ a: a.mul(t2), b: b.mul(t), d })
      .add(floor)
      .mul(t);
    return between(ends, F.div(scale), p.square().add(floor).div(scale));
  });
}

export interface PolynomialOptions extends ScheduleEnds, ConditionalContext {
  /** F, width of the coefficient network. Default D, as in the official code. */
  readonly hidden?: number | undefined;
  /** `fixed`, the default, or learned for each pixel. */
  readonly ends?: "fixed" | "learned";
  /** `mean`: all pixels share the mean of their curves. Default `each`. */
  readonly pixels?: "each" | "mean";
  /**
   * `spread`, the default and official: b and d differ by pixel and latent from the first step. `line`: every curve is the
   * straight line at first, and what spread there is, was learned.
   */
  readonly start?: "spread" | "line";
  /** `free`, the default: a, b and d follow z. `unit`: d = 1 and `gamma' ~ p^2 + 1/1000` (the code's second version). */
  readonly form?: "free" | "unit";
}

/** The polynomial of every pixel, its coefficients a function of z (`poly_fixedend` and its relatives in MuLAN's code). */
export class PolynomialSchedule extends ConditionalSchedule {
  readonly network: CoefficientNetwork;
  readonly a: Linear;
  readonly b: Linear;
  readonly d: Linear | undefined;
  readonly ends: LearnedEnds | undefined;
  readonly #fixed: CurveEnds;
  readonly #pixels: "each" | "mean";

  constructor(options: PolynomialOptions) {
    super();
    const { latentSize, dimensions, hidden = dimensions } = options;
    const { ends = "fixed", pixels = "each", form = "free", start = "spread" } = options;
    this.network = new CoefficientNetwork(latentSize, hidden);
    this.a = new Linear(hidden, dimensions, form === "free" ? { law: zero } : {});
    const law = start === "line" ? { law: zero } : {};
    this.b = new Linear(hidden, dimensions, law);
    this.d = form === "free" ? new Linear(hidden, dimensions, law) : undefined;
    this.ends = ends === "learned" ? new LearnedEnds(dimensions, options) : undefined;
    this.#fixed = fixedEnds(options);
    this.#pixels = pixels;
  }

  /** The coefficients for latents `z` `[B, m]`; d is positive. */
  coefficients(z: Tensor): PolynomialCoefficients {
    const h = this.network.forward(z);
    const a = this.a.forward(h).to("float64");
    const b = this.b.forward(h).to("float64");
    const d = this.d
      ? this.d.forward(h).to("float64").softplus().add(1e-3)
      : ones(a.shape, { dtype: a.dtype, device: a.device });
    return { a, b, d };
  }

  given(z: Tensor): NoiseCurve {
    const ends = this.ends ? this.ends.get() : this.#fixed;
    const curve = polynomialCurve(this.coefficients(z), ends, { floor: this.d ? 0 : 1e-3 });
    return this.#pixels === "mean" ? meanCurve(curve) : curve;
  }
}
