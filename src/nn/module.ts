/** Modules: a tree of parameters that can be counted before anything is allocated. */
import type { FloatDtype, MemoryFormat, Shape, Streams } from "../torch/index.js";
import { emptyLike, noGrad, type Tensor } from "../torch/index.js";
import type { Initialiser } from "./initialisers.js";

export interface ParameterOptions {
  /** Whether decoupled weight decay applies; by custom not to biases. Default true. */
  readonly decay?: boolean;
  /** Convolution kernels lie channels-last. Default `contiguous`. */
  readonly format?: MemoryFormat;
}

/** A learned tensor: its shape and law at first, its value once `Module.initialise` has run. */
export class Parameter {
  readonly shape: Shape;
  readonly law: Initialiser;
  readonly decay: boolean;
  readonly format: MemoryFormat;
  #value: Tensor | undefined;

  constructor(shape: Shape, law: Initialiser, options: ParameterOptions = {}) {
    this.shape = shape;
    this.law = law;
    this.decay = options.decay ?? true;
    this.format = options.format ?? "contiguous";
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, n) => product * n, 1);
  }

  /** @throws Error before `Module.initialise` (or `load`) has run. */
  get value(): Tensor {
    if (!this.#value)
      throw new Error("expected an initialised parameter: call initialise() or load() on its module first");
    return this.#value;
  }

  get initialised(): boolean {
    return this.#value !== undefined;
  }

  /** Takes `value` as the parameter, laid out as it wants it, collecting gradients from now on. */
  set(value: Tensor): void {
    if (value.shape.join() !== this.shape.join())
      throw new Error(`expected a parameter of shape [${this.shape.join(", ")}], got ${value}`);
    const before = this.#value;
    this.#value = noGrad(() => value.clone(this.format))
      .keep()
      .requireGrad();
    before?.dispose();
  }

  /** Runs with another tensor in the parameter's place (its moving average, say). */
  swap(value: Tensor): Tensor {
    const before = this.value;
    this.#value = value;
    return before;
  }
}

/** The parameters in a field called `name`. What is none and holds none counts as a position of its array alone. */
function* parametersIn(value: unknown, name: string): Generator<[name: string, parameter: Parameter]> {
  if (value instanceof Parameter) yield [name, value];
  else if (value instanceof Module) yield* value.namedParameters(`${name}.`);
  else if (Array.isArray(value))
    for (const [i, item] of value.entries()) yield* parametersIn(item, `${name}.${i}`);
}

/** Anything with parameters: its own fields that are parameters, modules or arrays of them, nested too, in their order. */
export abstract class Module {
  /** Every parameter with its dotted path, e.g. `network.down.0.norm1.weight`. */
  *namedParameters(prefix = ""): Generator<[name: string, parameter: Parameter]> {
    for (const [key, value] of Object.entries(this)) yield* parametersIn(value, prefix + key);
  }

  parameters(): Parameter[] {
    return Array.from(this.namedParameters(), ([, parameter]) => parameter);
  }

  /** Number of learned numbers; allocates nothing. */
  parameterCount(): number {
    return this.parameters().reduce((sum, parameter) => sum + parameter.size, 0);
  }

  /** Draws every parameter from its law. Each has a stream of its own name: adding a layer changes no other. */
  initialise(
    streams: Streams,
    options: { readonly dtype?: FloatDtype; readonly device?: string } = {},
  ): this {
    const { dtype = "float32", device = "cpu" } = options;
    for (const [name, parameter] of this.namedParameters()) {
      const drawn = parameter.law(parameter.shape, streams.generator(`init/${name}`));
      const value = drawn.toDevice(device, dtype);
      parameter.set(value);
      value.dispose();
      drawn.dispose();
    }
    return this;
  }

  /**
   * Takes the values of every parameter by name.
   * @throws Error naming what is missing, unknown or misshapen.
   */
  load(
    values: ReadonlyMap<string, Tensor>,
    options: { readonly dtype?: FloatDtype; readonly device?: string } = {},
  ): this {
    const known = new Map(this.namedParameters());
    const missing = [...known.keys()].filter((name) => !values.has(name));
    const unknown = [...values.keys()].filter((name) => !known.has(name));
    if (missing.length > 0 || unknown.length > 0)
      throw new Error(
        `expected the parameters of ${this.constructor.name}; missing: ${missing.join(", ") || "none"}; unknown: ${unknown.join(", ") || "none"}`,
      );
    for (const [name, parameter] of known) {
      const value = values.get(name) as Tensor;
      if (value.shape.join() !== parameter.shape.join())
        throw new Error(`parameter ${name}: expected shape [${parameter.shape.join(", ")}], got ${value}`);
      parameter.set(
        options.dtype || options.device
          ? value.toDevice(options.device ?? value.device, options.dtype ?? value.dtype)
          : value,
      );
    }
    return this;
  }

  /** The values by name, for `load` and files. */
  values(): [name: string, value: Tensor][] {
    return Array.from(this.namedParameters(), ([name, parameter]) => [name, parameter.value]);
  }

  /** Frees every parameter. */
  dispose(): void {
    for (const parameter of this.parameters()) if (parameter.initialised) parameter.value.dispose();
  }
}

/** An uninitialised companion of each parameter, kept, for moments and averages. */
export function companions(parameters: readonly Parameter[]): Tensor[] {
  return noGrad(() => parameters.map((parameter) => emptyLike(parameter.value).keep()));
}
