/** Golden vectors: files of tensors with independently computed values, and the rule by which numbers agree. */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readSafetensors } from "../src/io/index.js";
import { type Dtype, fromBytes, type Shape, Tensor } from "../src/torch/index.js";

/** The folder of this repository: for numbers that belong to one set of vectors, such as a trained result. */
export const ownFolder = fileURLToPath(new URL("golden", import.meta.url));

/** The folder whose vectors are tested: `VARIDIFF_GOLDEN` may name another of the same layout. */
const folder = process.env.VARIDIFF_GOLDEN ?? ownFolder;

/** The types that golden files are stored in. */
const storedDtypes: Readonly<Record<string, Dtype>> = {
  F64: "float64",
  F32: "float32",
  I64: "int64",
  I32: "int32",
  U8: "uint8",
  BF16: "bfloat16",
};

/** Numbers with a shape. */
interface Values {
  readonly shape: Shape;
  toArray(): number[];
}

/** One file of golden vectors. Every size and constant of a test is read from here. */
export class GoldenFile {
  readonly #file: string;
  readonly #tensors: ReturnType<typeof readSafetensors>["tensors"];

  /** `name` is the file in the system's folder, without its ending. */
  constructor(system: string, name: string, from: string = folder) {
    this.#file = path.join(from, system, `${name}.safetensors`);
    this.#tensors = readSafetensors(this.#file).tensors;
  }

  get keys(): readonly string[] {
    return [...this.#tensors.keys()];
  }

  has(key: string): boolean {
    return this.#tensors.has(key);
  }

  /** What the first group of `pattern` captures in the keys it matches, each once. Throws where none does. */
  matching(pattern: RegExp): string[] {
    const found = this.keys.flatMap((key) => pattern.exec(key)?.[1] ?? []);
    if (found.length === 0) throw new Error(`${this.#file}: no key matches ${pattern}`);
    return [...new Set(found)];
  }

  /** The tensor as it is laid out in the file, in float64. */
  tensor(key: string): Tensor {
    const stored = this.#tensors.get(key);
    if (!stored) throw new Error(`${this.#file}: no tensor "${key}"`);
    const dtype = storedDtypes[stored.dtype];
    if (!dtype)
      throw new Error(
        `${this.#file}: tensor "${key}" is ${stored.dtype}, expected ${Object.keys(storedDtypes).join(", ")}`,
      );
    return fromBytes(stored.data, dtype, stored.shape).to("float64");
  }

  /** An image tensor `[..., H, W, C]` as `[..., C, H, W]`. */
  image(key: string): Tensor {
    return channelsFirst(this.tensor(key));
  }

  /** All elements, row by row as stored. */
  numbers(key: string): number[] {
    return this.tensor(key).toArray();
  }

  /** The only element of a tensor. */
  number(key: string): number {
    return this.tensor(key).item();
  }
}

/** `[..., H, W, C]` as `[..., C, H, W]`. */
export function channelsFirst(t: Tensor): Tensor {
  const batch = t.shape.slice(0, -3).map((_, i) => i);
  const n = batch.length;
  return t.permute([...batch, n + 2, n, n + 1]).clone("contiguous");
}

export interface ClosenessOptions {
  /**
   * `mixed`, the default, is the rule of the files' READMEs: within `tolerance * max(|b|, 1e-3 max|B|)` or
   * `1e-12 max|B|`. `relative`: within `tolerance |b|` of each element, however small beside the others. `largest`, the
   * rule of MuLAN's README: within `tolerance (1 + max|B|)`.
   */
  readonly rule?: "mixed" | "relative" | "largest";
  /** An absolute error that is always allowed. */
  readonly absolute?: number;
}

const magnitude = (values: readonly number[]) =>
  values.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);

/** Throws unless `actual` has `expected`'s shape and agrees with it; the message names the worst element. */
export function close(
  actual: Values | readonly number[] | number | null | undefined,
  expected: Values | readonly number[] | number,
  tolerance: number,
  what: string,
  options: ClosenessOptions = {},
): void {
  if (actual === null || actual === undefined) throw new Error(`${what}: expected values, got ${actual}`);
  const { rule = "mixed", absolute = 0 } = options;
  const [a, b] = [numbersOf(actual), numbersOf(expected)];
  const [shapeA, shapeB] = [shapeOf(actual), shapeOf(expected)];
  if (a.length !== b.length || (shapeA && shapeB && shapeA.join() !== shapeB.join()))
    throw new Error(`${what}: expected shape [${shapeB ?? b.length}], got [${shapeA ?? a.length}]`);
  const largest = rule === "relative" ? 0 : magnitude(b);
  let worst = { excess: 0, message: "" };
  for (const [i, x] of a.entries()) {
    const y = b[i] as number;
    const allowed =
      rule === "largest"
        ? Math.max(tolerance * (1 + largest), absolute)
        : Math.max(tolerance * Math.max(Math.abs(y), 1e-3 * largest), 1e-12 * largest, absolute);
    const error = Math.abs(x - y);
    if (error <= allowed) continue;
    const excess = error / allowed;
    if (worst.message === "" || !(excess <= worst.excess))
      worst = {
        excess,
        message: `element ${i}: expected ${y}, got ${x}, off by ${error}, allowed ${allowed}`,
      };
  }
  if (worst.message !== "") throw new Error(`${what}: ${worst.message}`);
}

/** Throws unless every element is the expected one. */
export function same(actual: Values, expected: Values, what: string): void {
  close(actual, expected, 0, what, { rule: "relative" });
}

function numbersOf(values: Values | readonly number[] | number): readonly number[] {
  if (typeof values === "number") return [values];
  return "toArray" in values ? values.toArray() : values;
}

function shapeOf(values: Values | readonly number[] | number): Shape | undefined {
  return values instanceof Tensor ? values.shape : undefined;
}
