/** The header of NumPy's npy format (numpy.org/doc/stable/reference/generated/numpy.lib.format.html). */
import { UserError } from "../errors.js";

export interface NpyHeader {
  /** The element type, for example `|u1` or `<i8`. */
  readonly descr: string;
  readonly shape: readonly number[];
  /** Where the data starts, in bytes. */
  readonly offset: number;
}

/** No header of a plain array is longer. */
export const longestNpyHeader = 4096;

/** Reads the header at the start of `head`; `place` names the array in errors. Only C order is accepted. */
export function parseNpyHeader(head: Buffer, place: string): NpyHeader {
  if (head.length < 12 || head.subarray(0, 6).toString("latin1") !== "\x93NUMPY")
    throw new UserError(
      `${place}: expected a NumPy array (\\x93NUMPY at byte 0), found ${quote(head.subarray(0, 6))}`,
    );
  const long = (head[6] as number) >= 2;
  const start = long ? 12 : 10;
  const offset = start + (long ? head.readUInt32LE(8) : head.readUInt16LE(8));
  const text = head.subarray(start, offset).toString("latin1");
  const descr = /'descr':\s*'([^']+)'/.exec(text)?.[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(text)?.[1];
  if (offset > head.length || descr === undefined || shape === undefined)
    throw new UserError(
      `${place}: expected a NumPy header of a plain array, found ${quote(head.subarray(start, start + 60))}`,
    );
  if (/'fortran_order':\s*True/.test(text))
    throw new UserError(
      `${place}: expected an array in C order, found Fortran order; save np.ascontiguousarray(...) instead`,
    );
  return {
    descr,
    shape: shape
      .split(",")
      .map((part) => part.trim())
      .filter(Boolean)
      .map(Number),
    offset,
  };
}

const readers: Readonly<Record<string, readonly [size: number, read: (data: Buffer, at: number) => number]>> =
  {
    "|u1": [1, (data, at) => data.readUInt8(at)],
    "|i1": [1, (data, at) => data.readInt8(at)],
    "<u2": [2, (data, at) => data.readUInt16LE(at)],
    "<i2": [2, (data, at) => data.readInt16LE(at)],
    "<u4": [4, (data, at) => data.readUInt32LE(at)],
    "<i4": [4, (data, at) => data.readInt32LE(at)],
    "<u8": [8, (data, at) => Number(data.readBigUInt64LE(at))],
    "<i8": [8, (data, at) => Number(data.readBigInt64LE(at))],
  };

/** The integers of a whole npy file. */
export function parseNpyIntegers(file: Buffer, place: string): number[] {
  const { descr, shape, offset } = parseNpyHeader(file, place);
  const reader = readers[descr];
  if (!reader)
    throw new UserError(`${place}: expected integers (${Object.keys(readers).join(", ")}), found ${descr}`);
  const [size, read] = reader;
  const length = shape.reduce((a, b) => a * b, 1);
  if (file.length !== offset + length * size)
    throw new UserError(
      `${place}: expected ${offset + length * size} bytes for ${length} numbers, found ${file.length}`,
    );
  return Array.from({ length }, (_, i) => read(file, offset + i * size));
}

function quote(bytes: Buffer): string {
  return JSON.stringify(bytes.toString("latin1"));
}
