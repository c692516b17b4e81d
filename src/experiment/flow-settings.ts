/** How an exact likelihood is measured by the probability-flow ODE: the choices of the metric `nll`. */
import type { DequantisationKind } from "../diffusion/likelihood/dequantise.js";
import type { FlowContext } from "../diffusion/system.js";

export const divergences = ["rademacher", "gaussian", "rademacher-fresh", "exact"] as const;
export const latents = ["mode", "sample"] as const satisfies readonly FlowContext["latent"][];

export interface FlowSettings {
  /** K, importance samples of every image. */
  readonly importance: number;
  /** Noise that makes pixels continuous. */
  readonly dequantisation: DequantisationKind;
  /** Probes of the divergence: one a solve, a fresh one at every evaluation, or none, exactly. */
  readonly divergence: (typeof divergences)[number];
  /** Tolerances of a step of the solver, relative and absolute. */
  readonly rtol: number;
  readonly atol: number;
  /** What the flow is conditioned on, where it is. */
  readonly latent: FlowContext["latent"];
}

export const defaultFlowSettings: FlowSettings = {
  importance: 1,
  dequantisation: "truncated-normal",
  divergence: "rademacher",
  rtol: 1e-5,
  atol: 1e-5,
  latent: "mode",
};
