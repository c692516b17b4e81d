/** Sampling along the probability-flow ODE, with as many steps as its tolerances ask for. */
import { UserError } from "../../errors.js";
import { noGrad, scope, Tensor } from "../../torch/index.js";
import { type FlowSample, solveFlow } from "../likelihood/flow.js";
import { type DiffusionSystem, hasFlow, type SampleRequest, type SampleView } from "../system.js";

/** The name of this sampler. */
export const flowSampler = "ode";

export interface FlowSamplingOptions {
  /** Relative and absolute tolerance of a step. Default 1e-5. */
  readonly tolerance?: number;
  /** Time that is left, 1 to 0, after every step. */
  onTime?(t: number): void;
  readonly signal?: AbortSignal;
}

/** Images `[count, C, H, W]` uint8, and the function evaluations they took, all of the batch together. */
export interface FlowImages extends Omit<FlowSample, "x0"> {
  readonly images: Tensor;
}

/**
 * Carries noise to images; `request.steps` plays no part. Images share their steps, and depend on one another within
 * the tolerance.
 *
 * @throws UserError for a system without a probability flow, with its reason; the signal's reason when it aborts
 */
export async function sampleFlow<S extends SampleView>(
  system: DiffusionSystem<S>,
  request: SampleRequest,
  { tolerance = 1e-5, onTime, signal }: FlowSamplingOptions = {},
): Promise<FlowImages> {
  if (!hasFlow(system))
    throw new UserError(
      `expected a system with a probability flow for sampler ${flowSampler}, got one without${system.noFlow ? `: ${system.noFlow}` : ""}`,
    );
  const state = noGrad(() => scope(() => system.start(request)));
  try {
    const flow = noGrad(() => system.flowOf(state));
    const { x0, ...cost } = await solveFlow(flow, state.z, {
      rtol: tolerance,
      atol: tolerance,
      onStep: ({ t }) => onTime?.(t),
      ...(signal ? { signal } : {}),
    });
    const images = noGrad(() => scope(() => system.decode(x0.to(state.z.dtype), state))).keep();
    x0.dispose();
    return { images, ...cost };
  } finally {
    for (const value of Object.values(state)) if (value instanceof Tensor) value.dispose();
  }
}
