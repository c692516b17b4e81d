/** The one way into libtorch's dispatcher: any operator by its schema name. */
import { type Handle, native } from "./native.js";
import { spareHandle } from "./scope.js";
import type { Tensor } from "./tensor.js";

/** Something that stands for an object on the other side of the bridge. */
export interface Handled {
  readonly handle: Handle;
}

/** What an operator takes: `undefined` asks for the schema's default. */
export type Argument =
  | Handled
  | number
  | bigint
  | boolean
  | string
  | null
  | undefined
  | readonly (Handled | number | boolean | null)[];

/** What an operator returns. */
export type Result = Tensor | number | boolean | string | null | undefined | Result[];

let wrap: (handle: Handle) => Tensor;

/** tensor.ts says here how a handle becomes a Tensor (it is built on operators, so they cannot import it). */
export function wrapWith(make: (handle: Handle) => Tensor): void {
  wrap = make;
}

function unwrap(value: Argument): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (!Array.isArray(value)) return (value as Handled).handle;
  for (const item of value) if (typeof item === "object" && item !== null) return value.map(unwrapItem);
  return value;
}

function unwrapItem(item: Handled | number | boolean | null): unknown {
  return typeof item === "object" && item !== null ? item.handle : item;
}

function wrapResult(value: unknown): Result {
  if (typeof value !== "object" || value === null) return value as Result;
  return Array.isArray(value) ? value.map(wrapResult) : wrap(value as Handle);
}

/**
 * A function for an operator that returns one tensor, by its schema name, e.g. `operator("aten::add.Tensor")`.
 * Arguments are positional as in the schema. The operator is looked up at the first call.
 *
 * @throws Error `aten::mm: mat1 and mat2 shapes cannot be multiplied ... (float32[2, 3], float32[4, 5])`, on one line.
 */
export function operator(name: string): (...args: Argument[]) => Tensor {
  let id = -1;
  return (...args) => {
    const bridge = native();
    if (id < 0) id = bridge.findOperator(name);
    switch (args.length) {
      case 1:
        return wrap(bridge.call(id, spareHandle(), unwrap(args[0])) as Handle);
      case 2:
        return wrap(bridge.call(id, spareHandle(), unwrap(args[0]), unwrap(args[1])) as Handle);
      case 3:
        return wrap(
          bridge.call(id, spareHandle(), unwrap(args[0]), unwrap(args[1]), unwrap(args[2])) as Handle,
        );
      default:
        return wrap(bridge.call(id, spareHandle(), ...args.map(unwrap)) as Handle);
    }
  };
}

/** Like `operator`, for one that returns several tensors. */
export function operatorMany(name: string): (...args: Argument[]) => Tensor[] {
  return (...args) => call(name, ...args) as Tensor[];
}

const ids = new Map<string, number>();

/** Any operator once, whatever it returns: `call("aten::std_mean", x)`. */
export function call(name: string, ...args: Argument[]): Result {
  const bridge = native();
  let id = ids.get(name);
  if (id === undefined) {
    id = bridge.findOperator(name);
    ids.set(name, id);
  }
  return wrapResult(bridge.call(id, spareHandle(), ...args.map(unwrap)));
}

/** The schema of an operator, e.g. `aten::relu(Tensor self) -> Tensor`. */
export function schema(name: string): string {
  return native().schemaOf(native().findOperator(name));
}
