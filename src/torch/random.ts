/** Chance: explicit generators, and named streams of them that a resumed run repeats bit for bit. */
import { type Handle, native } from "./native.js";
import { Tensor } from "./tensor.js";

/** A generator of random numbers. The global one is never used. */
export class Generator {
  readonly handle: Handle;

  constructor(options: { readonly seed?: number; readonly device?: string } = {}) {
    this.handle = native().makeGenerator(options.device ?? "cpu");
    if (options.seed !== undefined) this.seed(options.seed);
  }

  /** The stream that Python's `torch.Generator().manual_seed(seed)` gives. */
  seed(seed: number): this {
    native().seed(this.handle, seed);
    return this;
  }

  /** Seeds with all 64 bits of `key`, modulo 2^64 (on the CPU `seed` uses the lower 32 alone). */
  seedWide(key: bigint): this {
    native().seedWide(this.handle, BigInt.asUintN(64, key));
    return this;
  }

  /** uint8 tensor: what `restore` takes to go on exactly from here. */
  state(): Tensor {
    return new Tensor(native().generatorState(this.handle));
  }

  restore(state: Tensor): this {
    native().setGeneratorState(this.handle, state.handle);
    return this;
  }
}

const mask = (1n << 64n) - 1n;

/** The finaliser of SplitMix64: a bijection of 64-bit words that spreads every bit. */
function mix(word: bigint): bigint {
  let z = (word + 0x9e3779b97f4a7c15n) & mask;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
  return z ^ (z >> 31n);
}

function hashName(name: string): bigint {
  let hash = 0xcbf29ce484222325n; // FNV-1a
  for (const byte of Buffer.from(name, "utf8")) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & mask;
  return hash;
}

/** Which images of a batch a part of it holds: those from number `first` on, of `of`. */
export interface Rows {
  readonly first: number;
  readonly of: number;
}

/**
 * Randomness as a pure function of (seed, path, name). `new Streams(seed).at(step).generator("noise")` always gives the
 * same numbers, whatever else was drawn: a run that is resumed, an evaluation that is sharded and a sample that is
 * repeated need no saved state. Parts of a computation that must not disturb each other (data order, noise, times,
 * dropout, sampling) draw under different names.
 */
export class Streams {
  readonly device: string;
  /** Of the streams of a part of a batch. */
  readonly rows: Rows | undefined;
  readonly #seed: bigint;
  readonly #key: bigint;
  readonly #generators = new Map<string, Generator>();

  constructor(seed: number | bigint, options: { readonly device?: string; readonly rows?: Rows } = {}) {
    this.#seed = BigInt(seed);
    this.#key = mix(BigInt.asUintN(64, this.#seed));
    this.device = options.device ?? "cpu";
    this.rows = options.rows;
  }

  /** The streams one level down: of a step, a batch, a rank. */
  at(index: number): Streams {
    const seed = this.#key ^ mix(BigInt(index) + 0x632be59bd9b4e019n);
    return new Streams(seed, { device: this.device, ...(this.rows ? { rows: this.rows } : {}) });
  }

  /**
   * The streams of a part of the batch that these are of, which draws what the whole batch would draw for it: what comes of an
   * image does not depend on how many are computed at a time.
   */
  part(rows: Rows): Streams {
    return new Streams(this.#seed, { device: this.device, rows });
  }

  /** What `draw` draws for `count` images, which are its first dimension: of a part, its own rows of the batch's draws. */
  drawn(name: string, count: number, draw: (count: number, generator: Generator) => Tensor): Tensor {
    if (!this.rows) return draw(count, this.generator(name));
    return draw(this.rows.of, this.ofBatch(name)).narrow(0, this.rows.first, count);
  }

  /** The 64-bit key of a name at this place. */
  key(name: string): bigint {
    return mix(this.#key ^ hashName(name));
  }

  /**
   * The generator of a name at this place; asked for again, it goes on where it was.
   * @throws Error of a part, where every part would draw the same
   */
  generator(name: string): Generator {
    if (this.rows)
      throw new Error(
        `expected the draws "${name}" of a part of a batch to be taken by drawn(), got generator()`,
      );
    return this.ofBatch(name);
  }

  /** The same of the whole batch where these streams are of a part: the caller takes the part's rows. */
  ofBatch(name: string): Generator {
    let generator = this.#generators.get(name);
    if (!generator) {
      generator = new Generator({ device: this.device }).seedWide(this.key(name));
      this.#generators.set(name, generator);
    }
    return generator;
  }

  /** Keys for dropout layers in the order in which a forward pass meets them, each a whole number below 2^53. */
  dropoutKeys(name = "dropout"): DropoutKeys {
    const base = this.key(name);
    let layer = 0n;
    return { next: () => Number(mix(base ^ mix(layer++)) >> 11n) };
  }
}

/** Given to a forward pass in training; its absence switches dropout off. */
export interface DropoutKeys {
  next(): number;
}
