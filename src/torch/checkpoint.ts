/** Gradient checkpointing: a segment keeps what goes into it, and is computed again when its gradient is wanted. */
import { enableGrad, noGrad, underAutocastOfNow } from "./autograd.js";
import { type Handle, native } from "./native.js";
import { scope } from "./scope.js";
import { Tensor } from "./tensor.js";

/**
 * `run(...inputs)`, without keeping for `backward` what is computed in between: it is computed again then, under the
 * autocast of now (Chen et al., 2016, arXiv 1604.06174). Under `noGrad` it is `run(...inputs)` and nothing else.
 *
 * The results and the gradients are the same bits as without it where `run` always computes the same; where every tensor
 * it depends on, other than parameters, is among the inputs, and every parameter in one segment alone; and where an input
 * that is used behind the segment too is one of its outputs, and used there in that form: the gradients of a tensor are
 * then added up in the usual order.
 *
 * Gradients come by `backward`: `grad` through a segment and second derivatives throw.
 */
export function checkpoint<I extends readonly Tensor[], O extends readonly Tensor[]>(
  run: (...inputs: I) => O,
  inputs: I,
): O {
  if (!native().gradMode()) return run(...inputs);
  const inMode = underAutocastOfNow();
  // All that is made inside is freed here but for what the graph holds; what is not made inside is left alone.
  const again = (given: readonly Handle[]) => {
    let shared: readonly Handle[] = [];
    scope(() => {
      const outputs = enableGrad(() => inMode(() => run(...(tensorsOf(given) as unknown as I))));
      shared = handlesOf(outputs).map((handle) => native().share(handle));
    });
    return shared;
  };
  return scope(() => {
    const outputs = noGrad(() => run(...inputs));
    return tensorsOf(native().checkpoint(handlesOf(inputs), handlesOf(outputs), again)) as unknown as O;
  });
}

function handlesOf(tensors: readonly Tensor[]): Handle[] {
  return tensors.map(({ handle }) => handle);
}

function tensorsOf(handles: readonly Handle[]): Tensor[] {
  return handles.map((handle) => new Tensor(handle));
}
