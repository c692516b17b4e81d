/** Floating-point operations of the passes that a system really makes through its networks. */
import type { CostedNetwork } from "../diffusion/denoiser.js";
import type { ImageModel } from "../diffusion/system.js";
import { VariationalUnet } from "../networks/variational-unet.js";
import { Module } from "../nn/index.js";
import { Tensor } from "../torch/index.js";

/** A network whose passes are counted. */
export interface CountedNetwork {
  /** Where it is in the system, as in `denoiser`. */
  readonly name: string;
  /** As in `VdmUnet`. */
  readonly kind: string;
  /** Of one image forward: what the network says, convolutions, matrix products and attention. */
  readonly flops: number;
}

type Costed = CostedNetwork & Required<Pick<CostedNetwork, "flops">>;

function isCosted(module: Module): module is Costed {
  return "flops" in module && typeof module.flops === "function";
}

/** The networks of a module that know what they cost, with their paths; not those within them. */
function* costedIn(value: unknown, path: string): Generator<readonly [path: string, network: Costed]> {
  if (value instanceof Module && isCosted(value)) yield [path, value];
  else if (value instanceof Module)
    for (const [key, field] of Object.entries(value))
      yield* costedIn(field, path === "" ? key : `${path}.${key}`);
  else if (Array.isArray(value))
    for (const [i, item] of value.entries()) yield* costedIn(item, `${path}.${i}`);
}

/** What an image costs by each way into a network. */
function costs(network: Costed, [, height = 1, width = 1]: readonly number[]): Record<string, number> {
  const whole = network.flops(height, width);
  if (!(network instanceof VariationalUnet)) return { forward: whole };
  const encode = network.vae_encoder.cost({ height, width }).flops;
  return { encode, forward: whole - encode };
}

function hasGraph(output: unknown): boolean {
  const tensors: readonly unknown[] = output instanceof Tensor ? [output] : Object.values(output ?? {});
  return tensors.some((value) => value instanceof Tensor && value.requiresGrad);
}

/** Tells `heard` of every call of a method; undone by the function that comes back. */
function listen(
  module: Module,
  method: string,
  heard: (given: readonly unknown[], output: unknown) => void,
): () => void {
  const original: unknown = Reflect.get(module, method);
  if (typeof original !== "function")
    throw new Error(`expected a method ${method} of ${module.constructor.name}`);
  const value = (...given: unknown[]): unknown => {
    const output: unknown = Reflect.apply(original, module, given);
    heard(given, output);
    return output;
  };
  Object.defineProperty(module, method, { value, configurable: true });
  return () => void Reflect.deleteProperty(module, method);
}

/**
 * Counts from when it is made until `release`. A pass of B images costs B times what the network says of one, and again
 * as much for each kind of gradient that is taken through it: of its input and of its weights in training, of its input
 * alone for a probability flow.
 */
export class CountedPasses {
  readonly networks: readonly CountedNetwork[];
  /** Parts of the system outside those networks that hold more than a hundredth of its parameters. */
  readonly uncounted: readonly string[];
  #flops = 0;
  readonly #undo: (() => void)[] = [];

  constructor(system: ImageModel, gradients: "input-and-weights" | "input") {
    const found = [...costedIn(system, "")];
    const passes = gradients === "input-and-weights" ? 3 : 2;
    this.networks = found.map(([name, network]) => {
      const cost = costs(network, system.shape);
      for (const [method, flops] of Object.entries(cost))
        this.#undo.push(
          listen(network, method, ([images], output) => {
            if (images instanceof Tensor)
              this.#flops += flops * images.dim(0) * (hasGraph(output) ? passes : 1);
          }),
        );
      const flops = Object.values(cost).reduce((sum, each) => sum + each, 0);
      return { name, kind: network.constructor.name, flops };
    });
    this.uncounted = uncountedIn(
      system,
      found.map(([name]) => name),
    );
  }

  /** Counted so far. */
  get flops(): number {
    return this.#flops;
  }

  release(): void {
    for (const undo of this.#undo.splice(0)) undo();
  }
}

function uncountedIn(system: ImageModel, counted: readonly string[]): readonly string[] {
  const sizes = new Map<string, number>();
  for (const [name, { size }] of system.namedParameters()) {
    if (counted.some((path) => path === "" || name.startsWith(`${path}.`))) continue;
    const part = name.split(".")[0] as string;
    sizes.set(part, (sizes.get(part) ?? 0) + size);
  }
  const all = system.parameterCount();
  return [...sizes].flatMap(([part, size]) => (size > all / 100 ? [part] : []));
}
