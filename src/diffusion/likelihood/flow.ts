/** The probability-flow ODE: exact likelihood, and sampling without noise. */
import {
  arange,
  enableGrad,
  type FloatDtype,
  type Generator,
  grad,
  randint,
  randn,
  type Shape,
  scope,
  type Tensor,
  type TensorOptions,
  zeros,
} from "../../torch/index.js";
import type { NoiseLevel } from "../level.js";
import { perExample } from "./bound.js";
import { type Derivative, type SolveCost, type SolveOptions, solve } from "./rk45.js";

/** `dx/dt = h(x, t)` from data (t = 0) to noise (t = 1); images do not interact. */
export interface ProbabilityFlow {
  /** h at one time for all images, in x's dtype and shape; differentiable in x. */
  drift(x: Tensor, t: number): Tensor;
}

/** `h = 1/2 sigma gamma' (eps_hat - sigma x)`, elementwise (MuLAN, supplement 15.2); in the level's dtype. */
export function driftFromNoise(epsHat: Tensor, x: Tensor, level: NoiseLevel, dGamma: Tensor): Tensor {
  const { sigma, dtype } = level;
  return dGamma
    .to(dtype)
    .mul(0.5)
    .mul(sigma)
    .mul(epsHat.sub(sigma.mul(x)));
}

/** `h = 1/2 alpha sigma gamma' v_hat`, elementwise (MuLAN, supplement 15.2); in the level's dtype. */
export function driftFromVelocity(vHat: Tensor, level: NoiseLevel, dGamma: Tensor): Tensor {
  const { alpha, sigma, dtype } = level;
  return dGamma.to(dtype).mul(0.5).mul(alpha).mul(sigma).mul(vHat);
}

/**
 * How `div h`, the trace of h's Jacobian J, is found.
 * - `hutchinson`: `v^T J v` with one `probe` v of x's shape for the whole solve; its mean over v is the trace.
 * - `hutchinson-fresh`: a new v at every evaluation, as MuLAN's code does; the error control sees its noise.
 * - `exact`: D vector-Jacobian products, for D numbers in an image.
 */
export type Divergence =
  | { readonly kind: "hutchinson"; readonly probe: Tensor }
  | { readonly kind: "hutchinson-fresh"; draw(): Tensor }
  | { readonly kind: "exact" };

/** A probe of independent signs, +1 or -1: the least variance, and none where J is diagonal. */
export function rademacherProbe(shape: Shape, generator: Generator, options: TensorOptions = {}): Tensor {
  const { dtype = "float32", device = "cpu" } = options;
  return randint(0, 2, shape, generator, { device }).mul(2).sub(1).to(dtype);
}

/** A standard normal probe. */
export function gaussianProbe(shape: Shape, generator: Generator, options: TensorOptions = {}): Tensor {
  return randn(shape, generator, options);
}

/** `v^T J v` of each image for probes v, or their sum, `[B]` float64; 0 where h does not depend on x. */
function divergenceOf(h: Tensor, x: Tensor, divergence: Divergence): Tensor {
  const none = zeros(x.shape.slice(0, 1), { dtype: "float64", device: x.device });
  const estimate = (probe: Tensor): Tensor => {
    if (!h.requiresGrad) return none;
    const gradients = [probe.to(h.dtype)];
    const [row] = grad([h], [x], { gradients, retainGraph: divergence.kind === "exact" });
    return row ? perExample(row.to("float64").mul(probe)) : none;
  };
  switch (divergence.kind) {
    case "hutchinson":
      return estimate(divergence.probe);
    case "hutchinson-fresh":
      return estimate(divergence.draw());
    case "exact": {
      const dimensions = x.size / x.dim(0);
      const index = arange(0, dimensions, 1, { device: x.device }).reshape([1, ...x.shape.slice(1)]);
      let trace = none;
      for (let i = 0; i < dimensions; i++)
        trace = scope(() => trace.add(estimate(index.eq(i).to(h.dtype).expand(h.shape))));
      return trace;
    }
    default:
      return divergence satisfies never;
  }
}

/** h `[B, ...]` in the dtype of the model, and `div h` `[B]` in float64, at x of any float dtype. */
export function driftAndDivergence(
  flow: ProbabilityFlow,
  x: Tensor,
  t: number,
  options: { readonly divergence: Divergence; readonly modelDtype?: FloatDtype },
): { readonly drift: Tensor; readonly divergence: Tensor } {
  const { divergence, modelDtype = "float32" } = options;
  return scope(() => {
    const leaf = x.detach().to(modelDtype).requireGrad();
    const drift = enableGrad(() => flow.drift(leaf, t));
    return { drift: drift.detach(), divergence: divergenceOf(drift, leaf, divergence) };
  });
}

/** `log N(x; 0, I)` of each image, `[B]`. */
export function standardNormalLogDensity(x: Tensor): Tensor {
  const dimensions = x.size / x.dim(0);
  return perExample(x.square())
    .add(dimensions * Math.log(2 * Math.PI))
    .mul(-0.5);
}

export interface FlowOptions extends Pick<SolveOptions, "onStep" | "signal"> {
  /** Relative tolerance of a step; default 1e-5. */
  readonly rtol?: number;
  /** Absolute tolerance of a step; default 1e-5. */
  readonly atol?: number;
  /** What h is evaluated in; default float32. The state is float64. */
  readonly modelDtype?: FloatDtype;
}

const tolerances = { rtol: 1e-5, atol: 1e-5 };

export interface LogDensityOptions extends FlowOptions {
  readonly divergence: Divergence;
}

export interface LogDensity extends SolveCost {
  /** `log p(x_0)`, nats per image, `[B]` float64. */
  readonly logDensity: Tensor;
  /** Where the flow takes x_0, `[B, ...]` float64. */
  readonly x1: Tensor;
  /** `int_0^1 div h dt` `[B]` float64: `log p(x_0)` less the log density of `x_1`. */
  readonly deltaLogDensity: Tensor;
}

/**
 * `log p(x_0) = log N(x_1; 0, I) + int_0^1 div h(x_t, t) dt` of each image of x0 `[B, ...]` (MuLAN, supplement 15.2),
 * x and the integral solved for together as one state. Images share their steps, so an image's result depends on the
 * others' within the tolerance. The tensors returned are the caller's to dispose of.
 *
 * @throws the signal's reason when it aborts; Error where h is not finite, or too steep for any step
 */
export async function logDensity(
  flow: ProbabilityFlow,
  x0: Tensor,
  options: LogDensityOptions,
): Promise<LogDensity> {
  const delta0 = zeros(x0.shape.slice(0, 1), { dtype: "float64", device: x0.device });
  const derivative: Derivative = (t, [x]) => {
    const { drift, divergence } = driftAndDivergence(flow, x as Tensor, t, options);
    return [drift, divergence];
  };
  try {
    const y0 = [x0, delta0];
    const { y, ...cost } = await solve(derivative, { ...tolerances, ...options, t0: 0, t1: 1, y0 });
    const [x1, deltaLogDensity] = y as [Tensor, Tensor];
    const logDensity = scope(() => standardNormalLogDensity(x1).add(deltaLogDensity));
    return { logDensity, x1, deltaLogDensity, ...cost };
  } finally {
    delta0.dispose();
  }
}

export interface FlowSample extends SolveCost {
  /** `[B, ...]` float64. */
  readonly x0: Tensor;
}

/**
 * Carries noise x1 `[B, ...]` from t = 1 to the data at t = 0; `evaluations` is the number of function evaluations of
 * the batch. The tensor returned is the caller's to dispose of.
 *
 * @throws the signal's reason when it aborts; Error where h is not finite, or too steep for any step
 */
export async function solveFlow(
  flow: ProbabilityFlow,
  x1: Tensor,
  options: FlowOptions = {},
): Promise<FlowSample> {
  const { modelDtype = "float32" } = options;
  const derivative: Derivative = (t, [x]) => [flow.drift((x as Tensor).to(modelDtype), t)];
  const { y, ...cost } = await solve(derivative, { ...tolerances, ...options, t0: 1, t1: 0, y0: [x1] });
  return { x0: y[0] as Tensor, ...cost };
}
