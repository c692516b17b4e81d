/** Who frees a tensor: the scope it was made in, unless it is returned or kept. */
import { type Handle, native } from "./native.js";

/** What a scope needs to know of a tensor. */
export interface Scoped {
  handle: Handle;
  /** Kept tensors outlive every scope. */
  readonly kept: boolean;
}

let current: Scoped[] | undefined;

// Making a handle and having it collected costs more than a small operator, so those of freed tensors serve again.
// The freed tensor itself is given the handle of no tensor: nobody can reach another one's through it.
const spares: Handle[] = [];
const mostSpares = 8192;
let none: Handle | undefined;

/** A handle to put a result in, if there is one to spare. */
export function spareHandle(): Handle | undefined {
  return spares.pop();
}

/** Frees tensors that are not freed yet. */
export function release(tensors: readonly Scoped[]): void {
  if (tensors.length === 0) return;
  const bridge = native();
  none ??= bridge.disposedHandle();
  const handles = tensors.map(({ handle }) => handle);
  bridge.dispose(handles);
  for (const tensor of tensors) tensor.handle = none;
  for (const handle of handles) if (spares.length < mostSpares) spares.push(handle);
}

/** Whether a tensor was freed. */
export function isReleased({ handle }: Scoped): boolean {
  return handle === none;
}

/** Notes a newly made tensor in the scope that is open, if any. */
export function enterScope(tensor: Scoped): void {
  current?.push(tensor);
}

function isScoped(value: object): value is Scoped {
  return "handle" in value && "kept" in value;
}

/** Every tensor inside a returned value: itself, and those in arrays, maps and plain objects. */
function gather(value: unknown, into: Set<Scoped>): void {
  if (typeof value !== "object" || value === null) return;
  if (isScoped(value)) into.add(value);
  else if (Array.isArray(value)) for (const item of value) gather(item, into);
  else if (value instanceof Map) for (const item of value.values()) gather(item, into);
  else if (Object.getPrototypeOf(value) === Object.prototype)
    for (const item of Object.values(value)) gather(item, into);
}

/**
 * Runs `run` and frees every tensor made inside, except those it returns (alone, or in arrays, maps and plain objects,
 * nested) and those that were `keep()`ed. JavaScript's collector does not see tensor memory: a training step, an
 * evaluation batch or a sampler step each run in one scope. A graph built inside keeps its own references, so
 * `backward()` may follow the end of the scope.
 *
 * @throws TypeError when `run` returns a promise: a scope is synchronous.
 */
export function scope<R>(run: () => R): R {
  const outer = current;
  const made: Scoped[] = [];
  if (!outer) native().countMemory(false);
  current = made;
  let survivors: Set<Scoped> | undefined;
  try {
    const result = run();
    if (result instanceof Promise)
      throw new TypeError("scope() takes a synchronous function, got one that returns a promise");
    survivors = new Set();
    gather(result, survivors);
    return result;
  } finally {
    current = outer;
    const dead: Scoped[] = [];
    for (const tensor of made) {
      if (survivors?.has(tensor)) outer?.push(tensor);
      else if (!tensor.kept && !isReleased(tensor)) dead.push(tensor);
    }
    release(dead);
    if (!outer) native().countMemory(true);
  }
}

/** Tensors alive on the other side of the bridge: the same before and after a step that leaks nothing. */
export function liveTensors(): number {
  return native().liveTensors();
}
