/** TensorBoard event files, read back by a reader of the two formats that shares no code with the writer. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { crc32c, EventWriter } from "../../src/io/tensorboard.js";

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-events-"));
});
afterEach(() => {
  fs.rmSync(folder, { recursive: true, force: true });
});

const ascii = (text: string) => Buffer.from(text, "ascii");

describe("crc32c", () => {
  test.each([
    ["32 zero bytes (RFC 3720, B.4)", new Uint8Array(32), 0x8a9136aa],
    ["32 bytes of ones (RFC 3720, B.4)", new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ["32 incrementing bytes (RFC 3720, B.4)", Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    ["32 decrementing bytes (RFC 3720, B.4)", Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
    ["the check value of the CRC catalogue", ascii("123456789"), 0xe3069283],
    ["nothing", new Uint8Array(0), 0],
  ])("of %s", (_what, bytes, expected) => {
    expect(crc32c(bytes)).toBe(expected);
  });
});

/** CRC-32C bit by bit, without a table. */
function slowCrc32c(bytes: Uint8Array): bigint {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
  }
  return crc ^ 0xffffffffn;
}

/** The mask as TensorFlow's record format documents it, in 64-bit integers. */
function masked(bytes: Uint8Array): bigint {
  const crc = slowCrc32c(bytes);
  return (((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn;
}

function readRecords(bytes: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(BigInt(bytes.readUInt32LE(at + 8))).toBe(masked(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(BigInt(bytes.readUInt32LE(at + 12 + length))).toBe(masked(data));
    records.push(data);
    at += 16 + length;
  }
  return records;
}

type Message = Map<number, number | bigint | Buffer>;

/** Protocol Buffers, one level deep; every field here comes at most once. */
function parse(bytes: Buffer): Message {
  const message: Message = new Map();
  let at = 0;
  const readVarint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number): Buffer => {
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const key = Number(readVarint());
    const field = key >> 3;
    if ((key & 7) === 0) message.set(field, readVarint());
    else if ((key & 7) === 1) message.set(field, take(8).readDoubleLE());
    else if ((key & 7) === 2) message.set(field, take(Number(readVarint())));
    else if ((key & 7) === 5) message.set(field, take(4).readFloatLE());
    else throw new Error(`wire type ${key & 7}`);
  }
  return message;
}

/** Follows nested messages by field number. */
function descend(message: Message, ...fields: number[]): Message {
  let inner = message;
  for (const field of fields) {
    const bytes = inner.get(field);
    if (!Buffer.isBuffer(bytes)) throw new Error(`no message in field ${field}`);
    inner = parse(bytes);
  }
  return inner;
}

function eventsOf(write: (writer: EventWriter) => void): Message[] {
  const writer = new EventWriter(folder);
  write(writer);
  writer.close();
  return readRecords(fs.readFileSync(writer.path)).map(parse);
}

// Field numbers: tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto.
describe("EventWriter", () => {
  test("names its file so that TensorBoard finds it, and another one each time", () => {
    const first = new EventWriter(folder);
    const second = new EventWriter(folder);
    first.close();
    second.close();
    expect(path.basename(first.path)).toMatch(/^events\.out\.tfevents\.\d{10}\.[^/]+$/);
    expect(fs.readdirSync(folder)).toHaveLength(2);
  });

  test("opens with the file version, at the time of writing", () => {
    const before = Date.now() / 1000;
    const [event] = eventsOf(() => {});
    expect(event?.get(3)).toEqual(ascii("brain.Event:2"));
    expect(event?.get(1)).toBeGreaterThanOrEqual(before);
    expect(event?.get(1)).toBeLessThanOrEqual(Date.now() / 1000);
  });

  test("writes a scalar with its tag and step", () => {
    const [, event] = eventsOf((writer) => writer.scalar("loss/σ", -2.75, 300));
    expect(event?.get(2)).toBe(300n);
    const value = descend(event ?? new Map(), 5, 1);
    expect(value.get(1)).toEqual(Buffer.from("loss/σ", "utf8"));
    expect(value.get(2)).toBe(-2.75);
  });

  test("writes steps beyond 32 bits, and numbers that are none", () => {
    const [, event] = eventsOf((writer) => writer.scalar("x", Number.NaN, 2 ** 40 + 5));
    expect(event?.get(2)).toBe(2n ** 40n + 5n);
    expect(descend(event ?? new Map(), 5, 1).get(2)).toBeNaN();
  });

  test("writes an image", () => {
    const png = Buffer.from([0x89, 0x50, 0x4e, 0x47, ...new Uint8Array(300)]);
    const [, event] = eventsOf((writer) =>
      writer.image("samples", png, { width: 1000, height: 28, channels: 3 }, 7),
    );
    const value = descend(event ?? new Map(), 5, 1);
    expect(value.get(1)).toEqual(ascii("samples"));
    const image = descend(value, 4);
    expect([image.get(1), image.get(2), image.get(3)]).toEqual([28n, 1000n, 3n]);
    expect(image.get(4)).toEqual(png);
  });

  test("marks a restart with a session log whose status is START", () => {
    const [, event] = eventsOf((writer) => writer.startAt(120));
    expect(event?.get(2)).toBe(120n);
    expect(descend(event ?? new Map(), 7).get(1)).toBe(1n);
  });

  test("refuses a step that is no whole number", () => {
    eventsOf((writer) => {
      expect(() => writer.scalar("x", 1, 0.5)).toThrow(RangeError);
      expect(() => writer.scalar("x", 1, -1)).toThrow(RangeError);
    });
  });
});
