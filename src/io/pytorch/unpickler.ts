/** Python pickles read as data: an interpreter of their instructions that runs and imports nothing. */
import type { UserError } from "../../errors.js";
import { type ByteReader, damaged } from "./byte-reader.js";
import { opcodes as op } from "./opcodes.js";

/** Highest protocol there is. */
const NEWEST_PROTOCOL = 5;
/** Each instruction adds at most one object to the stack, the memo or a container: this bounds all of them. */
const MOST_INSTRUCTIONS = 5_000_000;
/** Of one string or bytes object. */
const MOST_BYTES = 1 << 26;
/** Of one whole number: 255 bytes are 614 decimal digits. */
const LONGEST_NUMBER = 255;
const LONGEST_LINE = 1 << 16;

/** A Python class or function by its full name, `collections.OrderedDict`. */
export class Global {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** What only running code could make: its name and what it was given. It was not called, and nothing was imported. */
export class Inert {
  readonly name: string;
  readonly given: readonly unknown[];
  /** What `BUILD` would have put into the object. */
  state: unknown;
  constructor(name: string, given: readonly unknown[]) {
    this.name = name;
    this.given = given;
  }
}

export interface Unpickling {
  /**
   * What is made of the callables with these names; anything else becomes `Inert`, and so do arguments that a maker
   * has no use for, which it says by `undefined`.
   */
  readonly makers: ReadonlyMap<string, (given: readonly unknown[]) => unknown>;
  /** What stands for a persistent id. */
  readonly persistent: (id: unknown) => unknown;
}

/**
 * The object of one pickle; the reader then stands behind it. Lists, tuples and sets are arrays, dictionaries are
 * `Map`s, whole numbers beyond 2^53 are bigints, bytes are `Uint8Array`s.
 *
 * @throws UserError naming the byte where the pickle breaks off, makes no sense, or grows beyond all measure
 */
export function unpickle(reader: ByteReader, unpickling: Unpickling): unknown {
  return new Machine(reader, unpickling).run();
}

const nothing = Symbol("nothing");

class Machine {
  readonly #reader: ByteReader;
  readonly #unpickling: Unpickling;
  readonly #stack: unknown[] = [];
  /** Lengths that the stack had. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, unknown>();
  /** Where the instruction at hand begins. */
  #place = 0;

  constructor(reader: ByteReader, unpickling: Unpickling) {
    this.#reader = reader;
    this.#unpickling = unpickling;
  }

  run(): unknown {
    for (let count = 0; count < MOST_INSTRUCTIONS; count++) {
      this.#place = this.#reader.position;
      const opcode = this.#reader.byte();
      if (opcode === op.STOP) return this.#pop();
      const value = this.#value(opcode);
      if (value !== nothing) this.#push(value);
    }
    throw this.#fault(`the pickle has over ${MOST_INSTRUCTIONS} instructions`);
  }

  /** What an instruction that makes one object makes; `nothing` of the others, which are done instead. */
  #value(opcode: number): unknown {
    const reader = this.#reader;
    switch (opcode) {
      case op.NONE:
        return null;
      case op.NEWTRUE:
        return true;
      case op.NEWFALSE:
        return false;
      case op.BININT:
        return reader.take(4).readInt32LE();
      case op.BININT1:
        return reader.byte();
      case op.BININT2:
        return reader.take(2).readUInt16LE();
      case op.LONG1:
        return this.#long(reader.byte());
      case op.LONG4:
        return this.#long(reader.take(4).readUInt32LE());
      case op.INT:
      case op.LONG:
        return this.#decimal();
      case op.FLOAT:
        return Number(reader.line(LONGEST_LINE));
      case op.BINFLOAT:
        return reader.take(8).readDoubleBE();

      case op.BINUNICODE:
        return this.#bytes(reader.take(4).readUInt32LE()).toString("utf8");
      case op.SHORT_BINUNICODE:
        return this.#bytes(reader.byte()).toString("utf8");
      case op.BINUNICODE8:
        return this.#bytes(this.#length8()).toString("utf8");
      case op.BINSTRING:
        return this.#bytes(reader.take(4).readUInt32LE()).toString("latin1");
      case op.SHORT_BINSTRING:
        return this.#bytes(reader.byte()).toString("latin1");
      case op.STRING:
        return unescaped(reader.line(LONGEST_LINE).trim().slice(1, -1));
      case op.UNICODE:
        return unescaped(reader.line(LONGEST_LINE));
      case op.BINBYTES:
        return this.#bytes(reader.take(4).readUInt32LE());
      case op.SHORT_BINBYTES:
        return this.#bytes(reader.byte());
      case op.BINBYTES8:
      case op.BYTEARRAY8:
        return this.#bytes(this.#length8());

      case op.EMPTY_TUPLE:
      case op.EMPTY_LIST:
      case op.EMPTY_SET:
        return [];
      case op.EMPTY_DICT:
        return new Map();
      case op.TUPLE1:
        return this.#take(1);
      case op.TUPLE2:
        return this.#take(2);
      case op.TUPLE3:
        return this.#take(3);
      case op.TUPLE:
      case op.LIST:
      case op.FROZENSET:
        return this.#untilMark();
      case op.DICT:
        return addItems(new Map(), this.#untilMark());

      case op.DUP:
        return this.#top();
      case op.GET:
        return this.#recall(Number(reader.line(LONGEST_LINE)));
      case op.BINGET:
        return this.#recall(reader.byte());
      case op.LONG_BINGET:
        return this.#recall(reader.take(4).readUInt32LE());

      case op.PERSID:
        return this.#unpickling.persistent(reader.line(LONGEST_LINE));
      case op.BINPERSID:
        return this.#unpickling.persistent(this.#pop());
      case op.GLOBAL:
        return this.#global(reader.line(LONGEST_LINE), reader.line(LONGEST_LINE));
      case op.STACK_GLOBAL: {
        const [module, name] = this.#take(2);
        return this.#global(module, name);
      }
      case op.REDUCE:
      case op.NEWOBJ: {
        const [callable, given] = this.#take(2);
        return this.#make(callable, given);
      }
      case op.NEWOBJ_EX: {
        const [callable, given] = this.#take(3);
        return this.#make(callable, given);
      }
      case op.OBJ: {
        const [callable, ...given] = this.#untilMark();
        return this.#make(callable, given);
      }
      case op.INST: {
        const callable = this.#global(reader.line(LONGEST_LINE), reader.line(LONGEST_LINE));
        return this.#make(callable, this.#untilMark());
      }
      default:
        this.#act(opcode);
        return nothing;
    }
  }

  /** Does what an instruction does that makes no new object. */
  #act(opcode: number): void {
    const reader = this.#reader;
    switch (opcode) {
      case op.PROTO: {
        const protocol = reader.byte();
        if (protocol > NEWEST_PROTOCOL) throw this.#fault(`pickle protocol ${protocol} is not known`);
        break;
      }
      case op.FRAME:
        reader.take(8);
        break;
      case op.MARK:
        this.#marks.push(this.#stack.length);
        break;
      case op.POP:
        this.#pop();
        break;
      case op.POP_MARK:
        this.#untilMark();
        break;

      case op.APPEND:
        this.#append(this.#take(1));
        break;
      case op.APPENDS:
      case op.ADDITEMS:
        this.#append(this.#untilMark());
        break;
      case op.SETITEM:
        this.#setItems(this.#take(2));
        break;
      case op.SETITEMS:
        this.#setItems(this.#untilMark());
        break;
      case op.BUILD: {
        const state = this.#pop();
        const object = this.#top();
        if (object instanceof Inert) object.state = state;
        break;
      }

      case op.PUT:
        this.#memoise(Number(reader.line(LONGEST_LINE)));
        break;
      case op.BINPUT:
        this.#memoise(reader.byte());
        break;
      case op.LONG_BINPUT:
        this.#memoise(reader.take(4).readUInt32LE());
        break;
      case op.MEMOIZE:
        this.#memoise(this.#memo.size);
        break;
      default:
        throw this.#fault(`0x${opcode.toString(16).padStart(2, "0")} is no pickle instruction known here`);
    }
  }

  #fault(what: string): UserError {
    return damaged(this.#reader.part.file, `at byte ${this.#place}: ${what}`);
  }

  #push(value: unknown): void {
    this.#stack.push(value);
  }

  /** The last `count` of the stack, in their order; those below a mark are out of reach. */
  #take(count: number): unknown[] {
    const from = this.#stack.length - count;
    if (from < (this.#marks.at(-1) ?? 0))
      throw this.#fault(`the instruction takes ${count} from a stack that has fewer`);
    return this.#stack.splice(from);
  }

  #pop(): unknown {
    return this.#take(1)[0];
  }

  #top(): unknown {
    const value = this.#pop();
    this.#push(value);
    return value;
  }

  #untilMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw this.#fault("the instruction needs a mark, and there is none");
    return this.#stack.splice(mark);
  }

  #memoise(index: number): void {
    this.#memo.set(index, this.#top());
  }

  #recall(index: number): unknown {
    if (!this.#memo.has(index)) throw this.#fault(`nothing was memorised as ${index}`);
    return this.#memo.get(index);
  }

  #append(items: readonly unknown[]): void {
    const target = this.#top();
    if (target instanceof Inert) return;
    if (!Array.isArray(target)) throw this.#fault("the instruction appends to what is no list");
    for (const item of items) target.push(item);
  }

  #setItems(items: readonly unknown[]): void {
    const target = this.#top();
    if (target instanceof Inert) return;
    if (!(target instanceof Map)) throw this.#fault("the instruction sets items of what is no dictionary");
    addItems(target, items);
  }

  #global(module: unknown, name: unknown): Global {
    if (typeof module !== "string" || typeof name !== "string")
      throw this.#fault("the name of a class or function is no text");
    return new Global(`${module}.${name}`);
  }

  #make(callable: unknown, given: unknown): unknown {
    const values: readonly unknown[] = Array.isArray(given) ? given : [given];
    if (!(callable instanceof Global)) return new Inert("a computed callable", values);
    return this.#unpickling.makers.get(callable.name)?.(values) ?? new Inert(callable.name, values);
  }

  #bytes(length: number): Buffer {
    if (length > MOST_BYTES) throw this.#fault(`a text of ${length} bytes; at most ${MOST_BYTES} are read`);
    return this.#reader.take(length);
  }

  #length8(): number {
    return Number(this.#reader.take(8).readBigUInt64LE());
  }

  /** Little-endian two's complement. */
  #long(length: number): number | bigint {
    if (length > LONGEST_NUMBER) throw this.#fault(`a whole number of ${length} bytes`);
    const hex = Buffer.from(this.#reader.take(length)).reverse().toString("hex");
    return narrowed(hex === "" ? 0n : BigInt.asIntN(8 * length, BigInt(`0x${hex}`)));
  }

  /** `12`, `12L`, and the booleans of protocol 0, `01` and `00`. */
  #decimal(): number | bigint | boolean {
    const text = this.#reader.line(LONGEST_LINE).trim();
    if (text === "01" || text === "00") return text === "01";
    const digits = text.replace(/L$/, "");
    if (!/^-?\d{1,614}$/.test(digits)) throw this.#fault("a whole number that is none");
    return narrowed(BigInt(digits));
  }
}

/** `items` are key, value, key, value, ... */
function addItems(dictionary: Map<unknown, unknown>, items: readonly unknown[]): Map<unknown, unknown> {
  for (let i = 0; i + 1 < items.length; i += 2) dictionary.set(items[i], items[i + 1]);
  return dictionary;
}

function narrowed(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

const escapes: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  "\\": "\\",
  "'": "'",
  '"': '"',
};

/** Protocol 0 writes texts as Python's source does. */
function unescaped(text: string): string {
  return text.replace(
    /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|(.))/g,
    (whole, byte?: string, unit?: string, character = "") => {
      const hex = byte ?? unit;
      return hex === undefined
        ? (escapes[character] ?? whole)
        : String.fromCharCode(Number.parseInt(hex, 16));
    },
  );
}
