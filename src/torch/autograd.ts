/** Gradients as values, and the modes around a computation: no gradient, gradient, autocast. */
import { type Dtype, dtypeCode } from "./dtype.js";
import { native } from "./native.js";
import { Tensor } from "./tensor.js";

export interface GradOptions {
  /** Cotangents of the outputs; ones where an output is a scalar. */
  readonly gradients?: readonly Tensor[];
  /** Makes the gradients differentiable themselves. */
  readonly createGraph?: boolean;
  /** Default: `createGraph`. */
  readonly retainGraph?: boolean;
}

/**
 * d(outputs)/d(inputs), summed over outputs, without touching any `.grad`.
 * An input that no output depends on has gradient null.
 */
export function grad(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  options: GradOptions = {},
): (Tensor | null)[] {
  const { gradients, createGraph = false, retainGraph = createGraph } = options;
  return native()
    .grad(
      outputs.map((t) => t.handle),
      inputs.map((t) => t.handle),
      gradients ? gradients.map((t) => t.handle) : null,
      retainGraph,
      createGraph,
    )
    .map((handle) => (handle ? new Tensor(handle) : null));
}

/** Accumulates the gradients of several roots into the leaves, in one pass. */
export function backward(roots: readonly Tensor[], options: GradOptions = {}): void {
  const { gradients, createGraph = false, retainGraph = createGraph } = options;
  native().backward(
    roots.map((t) => t.handle),
    gradients ? gradients.map((t) => t.handle) : null,
    retainGraph,
    createGraph,
  );
}

/** Forgets what `backward` has accumulated in these leaves. */
export function clearGradients(tensors: readonly Tensor[]): void {
  native().clearGradients(tensors.map((t) => t.handle));
}

function withGradMode<R>(on: boolean, run: () => R): R {
  const before = native().setGradMode(on);
  try {
    return run();
  } finally {
    native().setGradMode(before);
  }
}

/** Runs without recording a graph. */
export function noGrad<R>(run: () => R): R {
  return withGradMode(false, run);
}

/** Runs with a graph being recorded, also inside `noGrad`. */
export function enableGrad<R>(run: () => R): R {
  return withGradMode(true, run);
}

/** Runs with matrix products and convolutions in `dtype` (bfloat16); weights are cast once for the whole call. */
export function autocast<R>(
  options: { readonly dtype: Dtype; readonly device?: "cpu" | "cuda" },
  run: () => R,
): R {
  const { dtype, device = "cpu" } = options;
  const code = dtypeCode(dtype);
  const before = native().setAutocast(device, true, code);
  try {
    return run();
  } finally {
    native().setAutocast(device, before, code);
  }
}

/** Runs in the tensors' own dtype, also inside `autocast`. */
export function withoutAutocast<R>(run: () => R, options: { readonly device?: "cpu" | "cuda" } = {}): R {
  const { device = "cpu" } = options;
  const code = dtypeCode("bfloat16");
  const before = native().setAutocast(device, false, code);
  try {
    return run();
  } finally {
    if (before) native().setAutocast(device, true, code);
  }
}
