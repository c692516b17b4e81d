/** TorchScript modules: trained elsewhere, called here, differentiable. */
import fs from "node:fs";
import { UserError } from "../errors.js";
import { type Handle, native } from "./native.js";
import { Tensor } from "./tensor.js";

/** A module read from a TorchScript file, in evaluation mode. */
export class ScriptModule {
  readonly #handle: Handle;

  constructor(handle: Handle) {
    this.#handle = handle;
  }

  /** Calls a method with tensors and booleans; a tuple or list it returns becomes an array. */
  call(method: string, ...inputs: readonly (Tensor | boolean)[]): Tensor[] {
    const handles = inputs.map((input) => (typeof input === "boolean" ? input : input.handle));
    return native()
      .runScript(this.#handle, method, ...handles)
      .map((handle) => new Tensor(handle));
  }

  /** The first tensor that `forward` returns. */
  forward(...inputs: readonly Tensor[]): Tensor {
    const [first] = this.call("forward", ...inputs);
    if (!first) throw new Error("expected the TorchScript module to return a tensor, got none");
    return first;
  }
}

/** @throws UserError when the file is missing or no TorchScript archive. */
export function loadScript(path: string, options: { readonly device?: string } = {}): ScriptModule {
  if (!fs.existsSync(path)) throw new UserError(`expected a TorchScript file at ${path}, found none`);
  try {
    return new ScriptModule(native().loadScript(path, options.device ?? "cpu"));
  } catch (cause) {
    throw new UserError(
      `${path} is no TorchScript file that this libtorch reads: ${(cause as Error).message}`,
      { cause },
    );
  }
}
