/** Animated PNG: single PNGs as the frames of one file (PNG specification, third edition: acTL, fcTL and fdAT). */
import zlib from "node:zlib";

/** One picture of an animation, and how many milliseconds it is shown, at most 65535. */
export interface Frame {
  readonly png: Uint8Array;
  readonly delay: number;
}

interface Chunk {
  readonly type: string;
  readonly data: Buffer;
}

const SIGNATURE = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");

function chunksOf(png: Uint8Array): Chunk[] {
  const bytes = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  const chunks: Chunk[] = [];
  for (let at = SIGNATURE.length; at < bytes.length; ) {
    const begin = at + 8; // after the length and the type
    const end = begin + bytes.readUInt32BE(at);
    chunks.push({ type: bytes.toString("latin1", at + 4, begin), data: bytes.subarray(begin, end) });
    at = end + 4; // after the checksum
  }
  return chunks;
}

function encoded({ type, data }: Chunk): Buffer {
  const checked = Buffer.concat([Buffer.from(type, "latin1"), data]);
  return Buffer.concat([uint32(data.length), checked, uint32(zlib.crc32(checked))]);
}

function uint32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value, 4 * i);
  return bytes;
}

/**
 * The frames one after another, again and again, each in the place of the one before. A reader that knows nothing of
 * animations shows the first. All must agree in size and kind of pixels: the header is that of the first.
 */
export function assembleApng(frames: readonly Frame[]): Uint8Array {
  let sequence = 0; // of the chunks that make the animation
  const body = frames.flatMap(({ png, delay }, index) => {
    const chunks = chunksOf(png);
    const header = chunks.filter(({ type }) => type === "IHDR");
    const size = header.map(({ data }) => data.subarray(0, 8)); // width and height
    const timing = Buffer.alloc(6); // then 0 and 0: leave the frame standing, replace what was there
    timing.writeUInt16BE(delay, 0);
    timing.writeUInt16BE(1000, 2); // parts of a second
    const control = Buffer.concat([uint32(sequence++), ...size, uint32(0, 0), timing]);
    const pixels = chunks
      .filter(({ type }) => type === "IDAT")
      .map((chunk) =>
        index === 0 ? chunk : { type: "fdAT", data: Buffer.concat([uint32(sequence++), chunk.data]) },
      );
    const animation = { type: "acTL", data: uint32(frames.length, 0) }; // 0: without end
    return [...(index === 0 ? [...header, animation] : []), { type: "fcTL", data: control }, ...pixels];
  });
  const end = { type: "IEND", data: Buffer.alloc(0) };
  return new Uint8Array(Buffer.concat([SIGNATURE, ...[...body, end].map(encoded)]));
}
