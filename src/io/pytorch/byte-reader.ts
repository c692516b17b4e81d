/** Part of a file, byte after byte, with the place of whatever is wrong. */
import { UserError } from "../../errors.js";
import { readInto } from "../files.js";

/** Bytes read ahead. */
const WINDOW = 1 << 16;

/** The bytes `[begin, end)` of an open file. */
export interface FilePart {
  readonly file: string;
  readonly descriptor: number;
  readonly begin: number;
  readonly end: number;
}

/** The error for a file that is not what its own words say. */
export function damaged(file: string, what: string, cause?: unknown): UserError {
  const message = `${file} is not a whole PyTorch file: ${what}; use another copy of it`;
  return new UserError(message, { cause });
}

/** All bytes of a part of a file, in memory of their own. @throws UserError where the file ends before them */
export function readPart({ file, descriptor, begin, end }: FilePart): Uint8Array {
  const bytes = new Uint8Array(end - begin);
  const count = readInto(descriptor, bytes, begin);
  if (count < bytes.length)
    throw damaged(file, `it ends at byte ${begin + count}, expected ${bytes.length - count} bytes more`);
  return bytes;
}

/** Reads forward; what it returns stays valid. */
export class ByteReader {
  readonly part: FilePart;
  #window: Buffer = Buffer.alloc(0);
  #at = 0;
  /** Where in the file the window begins. */
  #windowBegin: number;

  constructor(part: FilePart) {
    this.part = part;
    this.#windowBegin = part.begin;
  }

  /** Of the next byte, in the file. */
  get position(): number {
    return this.#windowBegin + this.#at;
  }

  byte(): number {
    if (this.#at === this.#window.length) this.#advance(1);
    return this.#window[this.#at++] as number;
  }

  /** The next `count` bytes. @throws UserError where there are fewer */
  take(count: number): Buffer {
    if (count > this.#window.length - this.#at) this.#advance(count);
    const bytes = this.#window.subarray(this.#at, this.#at + count);
    this.#at += count;
    return bytes;
  }

  /** The text up to the next line feed, which is passed over; at most `longest` bytes of Latin-1. */
  line(longest: number): string {
    const bytes: number[] = [];
    for (let byte = this.byte(); byte !== 0x0a; byte = this.byte()) {
      if (bytes.length === longest)
        throw damaged(this.part.file, `at byte ${this.position}: a line of over ${longest} bytes`);
      bytes.push(byte);
    }
    return Buffer.from(bytes).toString("latin1");
  }

  #advance(count: number): void {
    const { position } = this;
    const { file, end } = this.part;
    const left = end - position;
    if (count > left)
      throw damaged(file, `at byte ${position}: expected ${count} bytes, found ${left} to the end`);
    const until = position + Math.min(left, Math.max(count, WINDOW));
    const bytes = readPart({ ...this.part, begin: position, end: until });
    this.#window = Buffer.from(bytes.buffer);
    this.#windowBegin = position;
    this.#at = 0;
  }
}
