/** The safetensors format: named tensors in one file, readable without running anything. */
import fs from "node:fs";
import { UserError } from "../errors.js";
import { explained, readInto, writeChunksAtomic } from "./files.js";

/** Bytes of one element. */
const ELEMENT_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;
/** The first bytes of a file are the length of its header, a little-endian 64-bit integer. */
const LENGTH_BYTES = 8;
/** The bound of the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;
const METADATA = "__metadata__";

/** An element type as the format names it. */
export type StoredDtype = keyof typeof ELEMENT_BYTES;

/** A tensor as bytes: little-endian, row-major, `shape` product times the element's size long. */
export interface StoredTensor {
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** Where a tensor lies: bytes `[begin, end)` of the file. */
export interface StoredRange {
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function byteLength(dtype: StoredDtype, shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, ELEMENT_BYTES[dtype]);
}

function describe(dtype: string, shape: readonly number[]): string {
  return `${dtype} [${shape.join(", ")}]`;
}

/**
 * Writes `tensors` in the order given, atomically, without a second copy of their data. The same content gives the
 * same bytes: metadata is sorted by key, and spaces pad the header to a multiple of 8 bytes.
 *
 * @throws UserError when the file cannot be written; Error when a name comes twice or data and shape disagree.
 */
export function writeSafetensors(
  file: string,
  tensors: Iterable<readonly [string, StoredTensor]>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  // Text, not an object: JavaScript would move names such as "0" to the front.
  const fields: string[] = [];
  const field = (name: string, value: object) =>
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const keys = Object.keys(metadata).sort();
  if (keys.length > 0) field(METADATA, Object.fromEntries(keys.map((key) => [key, metadata[key]])));

  const names = new Set<string>();
  const chunks: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { dtype, shape, data }] of tensors) {
    if (name === METADATA || names.has(name)) throw new Error(`tensor name ${JSON.stringify(name)} is taken`);
    if (byteLength(dtype, shape) !== data.length) {
      const expected = `${byteLength(dtype, shape)} bytes for ${describe(dtype, shape)}`;
      throw new Error(`tensor ${JSON.stringify(name)}: expected ${expected}, got ${data.length}`);
    }
    names.add(name);
    chunks.push(data);
    field(name, { dtype, shape, data_offsets: [offset, offset + data.length] });
    offset += data.length;
  }

  const header = Buffer.from(`{${fields.join(",")}}`, "utf8");
  const padding = Buffer.alloc(-header.length & 7, " ");
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(header.length + padding.length));
  writeChunksAtomic(file, [length, header, padding, ...chunks]);
}

function damaged(file: string, what: string): UserError {
  return new UserError(`${file} is not a whole safetensors file: ${what}; use another copy of it`);
}

function readExactly(
  file: string,
  descriptor: number,
  position: number,
  length: number,
  what: string,
): Uint8Array {
  const bytes = new Uint8Array(length);
  const count = readInto(descriptor, bytes, position);
  if (count < length) throw damaged(file, `${what} ends after ${count} of ${length} bytes`);
  return bytes;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function isDtype(value: unknown): value is StoredDtype {
  return typeof value === "string" && Object.hasOwn(ELEMENT_BYTES, value);
}

/** One tensor's entry in the header, checked by itself; `dataBegin` is where the file's data starts. */
function parseEntry(file: string, name: string, entry: unknown, dataBegin: number): StoredRange {
  const tensor = `tensor ${JSON.stringify(name)}`;
  if (!isRecord(entry)) throw damaged(file, `${tensor} has no description`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype)) {
    const known = Object.keys(ELEMENT_BYTES).join(", ");
    throw new UserError(
      `${file}: ${tensor} has dtype ${JSON.stringify(dtype)}; this reads ${known}: convert it first`,
    );
  }
  if (!isSizes(shape)) throw damaged(file, `${tensor} has shape ${JSON.stringify(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw damaged(file, `${tensor} has data_offsets ${JSON.stringify(offsets)}`);
  }
  const [begin = 0, end = 0] = offsets;
  if (end - begin !== byteLength(dtype, shape)) {
    const expected = `${describe(dtype, shape)} takes ${byteLength(dtype, shape)} bytes`;
    throw damaged(file, `${tensor}: ${expected}, but data_offsets [${begin}, ${end}] span ${end - begin}`);
  }
  return { dtype, shape, begin: dataBegin + begin, end: dataBegin + end };
}

interface Header {
  readonly metadata: Record<string, string>;
  /** In the order of the data. */
  readonly tensors: Map<string, StoredRange>;
}

function parseMetadata(file: string, value: unknown): Record<string, string> {
  if (value === undefined) return {};
  if (!isRecord(value)) throw damaged(file, `${METADATA} is not an object`);
  const entries = Object.entries(value).map(([key, text]) => {
    if (typeof text !== "string") throw damaged(file, `${METADATA} ${JSON.stringify(key)} is not a string`);
    return [key, text] as const;
  });
  return Object.fromEntries(entries);
}

function readHeader(file: string, descriptor: number): Header {
  const { size } = fs.fstatSync(descriptor);
  const first = readExactly(file, descriptor, 0, LENGTH_BYTES, "the length of the header");
  const length = Number(Buffer.from(first.buffer).readBigUInt64LE());
  const dataBegin = LENGTH_BYTES + length;
  if (length > MAX_HEADER_BYTES || dataBegin > size) {
    throw damaged(file, `bytes 0-7 announce a header of ${length} bytes, the file has ${size}`);
  }
  const text = Buffer.from(readExactly(file, descriptor, LENGTH_BYTES, length, "the header").buffer).toString(
    "utf8",
  );
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    throw damaged(file, `the header is not JSON (${(error as Error).message.split("\n")[0]})`);
  }
  if (!isRecord(header)) throw damaged(file, "the header is not a JSON object");

  const entries = Object.entries(header)
    .filter(([name]) => name !== METADATA)
    .map(([name, entry]) => [name, parseEntry(file, name, entry, dataBegin)] as const)
    .sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let position = dataBegin;
  for (const [name, { begin, end }] of entries) {
    if (begin !== position) {
      const what =
        begin < position ? "overlaps the tensor before it" : `follows ${begin - position} unused bytes`;
      throw damaged(file, `tensor ${JSON.stringify(name)} at byte ${begin} ${what}`);
    }
    position = end;
  }
  if (position !== size) throw damaged(file, `its tensors end at byte ${position}, the file at byte ${size}`);
  return { metadata: parseMetadata(file, header[METADATA]), tensors: new Map(entries) };
}

function withFile<Result>(file: string, use: (descriptor: number) => Result): Result {
  return explained("read", file, () => {
    const descriptor = fs.openSync(file, "r");
    try {
      return use(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
  });
}

/**
 * Names, element types, shapes and places of the tensors in a file, in the order of their data; the whole header is
 * checked, the data are not read.
 *
 * @throws UserError naming the file, the tensor and the place when something is wrong.
 */
export function readSafetensorsHeader(file: string): Header {
  return withFile(file, (descriptor) => readHeader(file, descriptor));
}

/**
 * Reads every tensor of a file, each into memory of its own, so that typed arrays of any element fit on
 * `data.buffer` and the file may be larger than one buffer.
 *
 * @throws UserError naming the file, the tensor and the place when something is wrong.
 */
export function readSafetensors(file: string): {
  metadata: Record<string, string>;
  tensors: Map<string, StoredTensor>;
} {
  return withFile(file, (descriptor) => {
    const header = readHeader(file, descriptor);
    const tensors = new Map<string, StoredTensor>();
    for (const [name, { dtype, shape, begin, end }] of header.tensors) {
      const data = readExactly(file, descriptor, begin, end - begin, `tensor ${JSON.stringify(name)}`);
      tensors.set(name, { dtype, shape, data });
    }
    return { metadata: header.metadata, tensors };
  });
}
