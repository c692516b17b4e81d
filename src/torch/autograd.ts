/** Gradients and directional derivatives as values, and the modes around a computation. */
import { ones, zerosLike } from "./create.js";
import { type Dtype, dtypeCode } from "./dtype.js";
import { native } from "./native.js";
import { scope } from "./scope.js";
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

export interface AutocastOptions {
  readonly dtype: Dtype;
  /** Default `cpu`. */
  readonly device?: "cpu" | "cuda";
}

/** That of the innermost `autocast`; undefined outside and inside `withoutAutocast`. */
let autocastNow: AutocastOptions | undefined;

function withAutocast<R>(device: "cpu" | "cuda", options: AutocastOptions | undefined, run: () => R): R {
  const outer = autocastNow;
  const before = native().setAutocast(device, options ? dtypeCode(options.dtype) : null);
  autocastNow = options;
  try {
    return run();
  } finally {
    autocastNow = outer;
    native().setAutocast(device, before);
  }
}

/** Runs with matrix products and convolutions in `dtype` (bfloat16); weights are cast once for the whole call. */
export function autocast<R>(options: AutocastOptions, run: () => R): R {
  return withAutocast(options.device ?? "cpu", options, run);
}

/** Runs in the tensors' own dtype, also inside `autocast`. */
export function withoutAutocast<R>(run: () => R, options: { readonly device?: "cpu" | "cuda" } = {}): R {
  return withAutocast(options.device ?? "cpu", undefined, run);
}

/** A function that runs others under the autocast of now, whatever is around it when it is called. */
export function underAutocastOfNow(): <R>(run: () => R) => R {
  const options = autocastNow;
  return (run) => (options ? autocast(options, run) : withoutAutocast(run));
}

/** A function's value at a point, and how it changes along a direction there. */
export interface Directional {
  readonly value: Tensor;
  readonly derivative: Tensor;
}

/**
 * `run(at)` and its derivative along `direction` (all ones where absent), `J v`, of the value's shape. libtorch 1.13
 * has no forward mode for SiLU, softmax and channels-last normalisation, so reverse mode runs twice: `g(u) = J^T u` is
 * linear in u, hence `J v` is the derivative of `g . v` in u. Where examples do not interact, ones give the derivative
 * of every example by its own element of `at`.
 *
 * Both results are differentiable, also through `at`, unless `noGrad` is around: then they are numbers alone.
 */
export function directionalDerivative(
  run: (x: Tensor) => Tensor,
  at: Tensor,
  direction?: Tensor,
): Directional {
  const createGraph = native().gradMode();
  return scope(() =>
    enableGrad(() => {
      const x = createGraph && at.requiresGrad ? at : at.detach().requireGrad();
      const value = run(x);
      const u = zerosLike(value).requireGrad();
      const v = direction ?? ones(at.shape, { dtype: at.dtype, device: at.device });
      const [g] = value.requiresGrad ? grad([value], [x], { gradients: [u], createGraph: true }) : [null];
      const [derivative] = g?.requiresGrad ? grad([g], [u], { gradients: [v], createGraph }) : [null];
      return {
        value: createGraph ? value : value.detach(),
        derivative: derivative ?? zerosLike(value),
      };
    }),
  );
}
