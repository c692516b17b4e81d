/** NumPy archives: arrays of bytes and of floats for whoever reads them with numpy.load. */
import { zipSync } from "fflate";
import { writeFileAtomic } from "./files.js";

/** Values in C order. */
export interface NpzArray {
  readonly shape: readonly number[];
  readonly data: Uint8Array | Float32Array;
}

/** The npy format, version 1.0: magic, header padded so that the data begin at a multiple of 64 bytes, data. */
function npy({ shape, data }: NpzArray): Uint8Array {
  const descr = data instanceof Float32Array ? "<f4" : "|u1";
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const dictionary = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${tuple}), }`;
  const padded = `${dictionary.padEnd(Math.ceil((10 + dictionary.length + 1) / 64) * 64 - 11)}\n`;
  const head = Buffer.alloc(10);
  head.write("\x93NUMPY\x01\x00", "latin1");
  head.writeUInt16LE(padded.length, 8);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return Buffer.concat([head, Buffer.from(padded, "latin1"), bytes]);
}

/**
 * Writes uint8 and float32 arrays by name; the same content gives the same bytes.
 * @throws UserError when the file cannot be written
 */
export function writeNpz(file: string, arrays: Readonly<Record<string, NpzArray>>): void {
  const entries = Object.fromEntries(
    Object.entries(arrays).map(([name, array]) => [`${name}.npy`, npy(array)]),
  );
  writeFileAtomic(file, zipSync(entries, { level: 6, mtime: new Date(1980, 0, 1) }));
}

/** Images `[N, C, H, W]` as the array `[N, H, W, C]` that others expect under the name arr_0. */
export function channelsLast({
  data,
  count,
  channels,
  height,
  width,
}: {
  readonly data: Uint8Array;
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}): { shape: number[]; data: Uint8Array } {
  const out = new Uint8Array(data.length);
  const plane = height * width;
  for (let n = 0; n < count; n++)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < plane; i++)
        out[(n * plane + i) * channels + c] = data[(n * channels + c) * plane + i] as number;
  return { shape: [count, height, width, channels], data: out };
}
