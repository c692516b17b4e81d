/** TensorBoard event files: scalars and images in TFRecord framing. */
import os from "node:os";
import path from "node:path";
import { AppendOnlyFile } from "./files.js";

/** Castagnoli's polynomial 0x1EDC6F41, bits reversed. */
const POLYNOMIAL = 0x82f63b78;
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? POLYNOMIAL : 0);
  return remainder;
});

/** CRC-32C (Castagnoli) of `bytes` as an unsigned 32-bit integer (RFC 3720, section 12.1). */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** TFRecord stores checksums rotated and shifted, since a CRC of data that hold their own CRC is degenerate. */
function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** One TFRecord: length (8 bytes), masked CRC of the length (4), data, masked CRC of the data (4); little-endian. */
function frame(data: Uint8Array): Uint8Array {
  const record = Buffer.alloc(8 + 4 + data.length + 4);
  record.writeBigUInt64LE(BigInt(data.length), 0);
  record.writeUInt32LE(maskedCrc32c(record.subarray(0, 8)), 8);
  record.set(data, 12);
  record.writeUInt32LE(maskedCrc32c(data), 12 + data.length);
  return record;
}

// Protocol Buffers wire format: a field is its key (number * 8 + wire type) and its value.

function varint(value: number): Buffer {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`expected a whole number >= 0, got ${value}`);
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

function integerField(number: number, value: number): Buffer {
  return Buffer.concat([varint(number * 8), varint(value)]);
}

function doubleField(number: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([varint(number * 8 + 1), bytes]);
}

function bytesField(number: number, value: Uint8Array | string): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value, "utf8") : value;
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

function floatField(number: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([varint(number * 8 + 5), bytes]);
}

/** Fields of tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 } as const;
const SUMMARY = { value: 1 } as const;
const VALUE = { tag: 1, simpleValue: 2, image: 4 } as const;
const IMAGE = { height: 1, width: 2, colorspace: 3, encodedImage: 4 } as const;
const SESSION_LOG = { status: 1 } as const;
const SESSION_START = 1;

/** An image's size in pixels, and its channels: 1 (grey), 3 (RGB) or 4 (RGBA). */
export interface ImageSize {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3 | 4;
}

let filesOfThisProcess = 0;

/** Writes one event file, `events.out.tfevents.<seconds>.<host>.<process>.<count>`, into a folder that exists. */
export class EventWriter {
  readonly path: string;
  readonly #file: AppendOnlyFile;

  /** @throws UserError when the folder cannot be written. */
  constructor(folder: string) {
    const seconds = String(Math.floor(Date.now() / 1000)).padStart(10, "0");
    const name = `events.out.tfevents.${seconds}.${os.hostname()}.${process.pid}.${filesOfThisProcess++}`;
    this.path = path.join(folder, name);
    this.#file = new AppendOnlyFile(this.path);
    this.#event(bytesField(EVENT.fileVersion, "brain.Event:2"), 0);
  }

  /** One point of the curve `tag`. */
  scalar(tag: string, value: number, step: number): void {
    this.#summary([bytesField(VALUE.tag, tag), floatField(VALUE.simpleValue, value)], step);
  }

  /** One picture under `tag`, as an encoded PNG. */
  image(tag: string, png: Uint8Array, size: ImageSize, step: number): void {
    const image = Buffer.concat([
      integerField(IMAGE.height, size.height),
      integerField(IMAGE.width, size.width),
      integerField(IMAGE.colorspace, size.channels),
      bytesField(IMAGE.encodedImage, png),
    ]);
    this.#summary([bytesField(VALUE.tag, tag), bytesField(VALUE.image, image)], step);
  }

  /** Says that the run goes on from `step`: TensorBoard drops what earlier files hold at that step and after. */
  startAt(step: number): void {
    this.#event(bytesField(EVENT.sessionLog, integerField(SESSION_LOG.status, SESSION_START)), step);
  }

  close(): void {
    this.#file.close();
  }

  #summary(value: readonly Uint8Array[], step: number): void {
    this.#event(bytesField(EVENT.summary, bytesField(SUMMARY.value, Buffer.concat(value))), step);
  }

  #event(content: Uint8Array, step: number): void {
    const wallTime = doubleField(EVENT.wallTime, Date.now() / 1000);
    this.#file.append(frame(Buffer.concat([wallTime, integerField(EVENT.step, step), content])));
  }
}
