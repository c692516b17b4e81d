/** Which part of a checkpoint is the state dict. */
import { UserError } from "../../errors.js";
import { didYouMean } from "../../nearest.js";
import { TensorReference } from "./torch-objects.js";
import { Inert } from "./unpickler.js";

/** How deep a state dict may lie in the dictionaries of a checkpoint. */
const DEPTH = 3;

type Dictionary = ReadonlyMap<unknown, unknown>;
type Named = ReadonlyMap<string, unknown>;

/**
 * The state dict that `object` is, or that lies in its dictionaries under the dotted `key`. A list of tensors there, as moving
 * averages are saved, is one whose names are their places: `0`, `1`, ...
 * @throws UserError saying which keys there are
 */
export function chooseStateDict(file: string, object: unknown, key: string | undefined): Named {
  const search = new Search();
  const itself = search.isStateDict(object);
  if (itself && key === undefined) return object;
  if (itself) throw new UserError(`expected no key for ${file}, got "${key}": it is itself one state dict`);
  const there = new Map(search.within(object));
  const chosen = key === undefined ? undefined : there.get(key);
  if (chosen) return chosen;
  const keys = [...there.keys()];
  if (keys.length === 0) throw new UserError(`expected a state dict in ${file}, found ${describe(object)}`);
  if (key !== undefined)
    throw new UserError(`expected the key of a state dict in ${file}, got "${key}"${didYouMean(key, keys)}`);
  const listed = keys.map((name) => JSON.stringify(name)).join(" or ");
  throw new UserError(
    `expected a state dict in ${file}, found a checkpoint with more in it: choose the key ${listed}`,
  );
}

/** Looks into every dictionary once, however often a file repeats it. */
class Search {
  readonly #holdsTensor = new Map<Dictionary, boolean>();
  readonly #isStateDict = new Map<Dictionary, boolean>();
  readonly #searched = new Set<Dictionary>();

  /** A dictionary with text for keys and tensors in it, and not in dictionaries in it. */
  isStateDict(value: unknown): value is Named {
    if (!(value instanceof Map) || !this.#holds(value)) return false;
    return remembered(this.#isStateDict, value, () =>
      [...value].every(
        ([key, item]) => typeof key === "string" && !(item instanceof Map && this.#holds(item)),
      ),
    );
  }

  /** The state dicts in the dictionaries of `object`, by their dotted keys. */
  *within(object: unknown, depth = DEPTH, prefix = ""): Generator<[key: string, dictionary: Named]> {
    if (!(object instanceof Map) || depth === 0 || this.#searched.has(object)) return;
    this.#searched.add(object);
    for (const [key, value] of object as Dictionary) {
      if (typeof key !== "string") continue;
      if (this.isStateDict(value)) yield [prefix + key, value];
      else if (isTensors(value)) yield [prefix + key, new Map(value.map((item, i) => [`${i}`, item]))];
      else yield* this.within(value, depth - 1, `${prefix}${key}.`);
    }
  }

  #holds(dictionary: Dictionary): boolean {
    return remembered(this.#holdsTensor, dictionary, () =>
      [...dictionary.values()].some((value) => value instanceof TensorReference),
    );
  }
}

function isTensors(value: unknown): value is readonly TensorReference[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => item instanceof TensorReference);
}

function remembered(known: Map<Dictionary, boolean>, dictionary: Dictionary, find: () => boolean): boolean {
  const there = known.get(dictionary);
  if (there !== undefined) return there;
  const found = find();
  known.set(dictionary, found);
  return found;
}

function describe(object: unknown): string {
  if (object instanceof Inert) return `an object of ${JSON.stringify(object.name)}: save its state_dict()`;
  if (object instanceof TensorReference) return "a single tensor";
  if (object instanceof Map) return "a dictionary without tensors";
  return Array.isArray(object) ? "a list" : "something else";
}
