/** The safetensors format, against bytes written out by hand from the format's published description. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { UserError } from "../../src/errors.js";
import {
  readSafetensors,
  readSafetensorsHeader,
  type StoredDtype,
  type StoredTensor,
  writeSafetensors,
} from "../../src/io/safetensors.js";

let folder: string;
let file: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-safetensors-"));
  file = path.join(folder, "a.safetensors");
});
afterEach(() => {
  vi.restoreAllMocks();
  fs.rmSync(folder, { recursive: true, force: true });
});

function float32(values: readonly number[], shape: readonly number[]): StoredTensor {
  return { dtype: "F32", shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}

/** A file as the format describes it: 8 bytes of length, the header, the data. */
function rawFile(header: string, data: Uint8Array): Buffer {
  const length = Buffer.alloc(8);
  length.writeUInt32LE(Buffer.byteLength(header));
  return Buffer.concat([length, Buffer.from(header), data]);
}

describe("writing", () => {
  test("gives the bytes of the format: length, padded JSON header, data", () => {
    writeSafetensors(file, [["w", float32([1, -2], [2, 1])]], { b: "2", a: "1" });
    const header =
      '{"__metadata__":{"a":"1","b":"2"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}';
    // IEEE 754 little-endian: 1 = 3f800000, -2 = c0000000.
    const data = Buffer.from("0000803f000000c0", "hex");
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8, " ");
    expect(fs.readFileSync(file)).toEqual(rawFile(padded, data));
  });

  test("keeps the order given, of names that JavaScript would sort too", () => {
    const scalar = float32([0], []);
    writeSafetensors(
      file,
      ["10", "b", "2", "a", "__proto__"].map((name) => [name, scalar] as const),
    );
    expect([...readSafetensors(file).tensors.keys()]).toEqual(["10", "b", "2", "a", "__proto__"]);
  });

  test("does not depend on the order of the metadata", () => {
    const other = path.join(folder, "b");
    writeSafetensors(file, [], { x: "1", y: "2" });
    writeSafetensors(other, [], { y: "2", x: "1" });
    expect(fs.readFileSync(other)).toEqual(fs.readFileSync(file));
  });

  test("refuses data that do not fit the shape, and a name that comes twice", () => {
    const tensor = float32([1, 2, 3], [2]);
    expect(() => writeSafetensors(file, [["w", tensor]])).toThrow(
      '"w": expected 8 bytes for F32 [2], got 12',
    );
    const good = float32([1], []);
    const twice: [string, StoredTensor][] = [
      ["w", good],
      ["w", good],
    ];
    expect(() => writeSafetensors(file, twice)).toThrow('"w" is taken');
    expect(() => writeSafetensors(file, [["__metadata__", good]])).toThrow("is taken");
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  test("keeps the file before when the disk fills in the middle of the data", () => {
    writeSafetensors(file, [["w", float32([1], [1])]]);
    const before = fs.readFileSync(file);
    const original = fs.writeSync as (...parameters: unknown[]) => number;
    let left = 3;
    vi.spyOn(fs, "writeSync").mockImplementation(((...parameters: unknown[]) => {
      if (left-- === 0) throw Object.assign(new Error("full"), { code: "ENOSPC" });
      return original(...parameters);
    }) as typeof fs.writeSync);
    expect(() => writeSafetensors(file, [["w", float32([2], [1])]])).toThrow(UserError);
    expect(fs.readFileSync(file)).toEqual(before);
    expect(fs.readdirSync(folder)).toEqual(["a.safetensors"]);
  });
});

describe("reading", () => {
  test("returns what any writer of the format wrote, in the order of the data", () => {
    // Header order differs from data order, unpadded header, odd offsets, an empty tensor: all allowed.
    const header =
      '{"y":{"dtype":"F64","shape":[1],"data_offsets":[3,11]},"x":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},' +
      '"none":{"dtype":"F32","shape":[0,4],"data_offsets":[11,11]}}';
    // IEEE 754: 1.5 = 3ff8000000000000.
    fs.writeFileSync(file, rawFile(header, Buffer.from("010203000000000000f83f", "hex")));
    const { metadata, tensors } = readSafetensors(file);
    expect(metadata).toEqual({});
    expect([...tensors.keys()]).toEqual(["x", "y", "none"]);
    expect([...(tensors.get("x")?.data ?? [])]).toEqual([1, 2, 3]);
    const y = tensors.get("y")?.data ?? new Uint8Array();
    expect(y.byteOffset % 8).toBe(0);
    expect([...new Float64Array(y.buffer, y.byteOffset, 1)]).toEqual([1.5]);
    expect(tensors.get("none")).toEqual({ dtype: "F32", shape: [0, 4], data: new Uint8Array() });
  });

  test("goes on after a read that gave only a part", () => {
    const tensor = float32([1, 2, 3], [3]);
    writeSafetensors(file, [["w", tensor]]);
    const original = fs.readSync as (...parameters: unknown[]) => number;
    const partial = (fd: unknown, into: unknown, offset: unknown, length: number, position: unknown) =>
      original(fd, into, offset, Math.min(3, length), position);
    vi.spyOn(fs, "readSync").mockImplementation(partial as typeof fs.readSync);
    expect(readSafetensors(file).tensors.get("w")).toEqual(tensor);
  });

  test("says where each tensor lies in the file", () => {
    const header = '{"x":{"dtype":"I16","shape":[2],"data_offsets":[0,4]}}';
    fs.writeFileSync(file, rawFile(header, new Uint8Array(4)));
    const begin = 8 + header.length;
    expect([...readSafetensorsHeader(file).tensors]).toEqual([
      ["x", { dtype: "I16", shape: [2], begin, end: begin + 4 }],
    ]);
  });

  test("gives back whatever was written", () => {
    const sizes: Record<StoredDtype, number> = {
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
    };
    const tensor = fc
      .record({
        dtype: fc.constantFrom(...(Object.keys(sizes) as StoredDtype[])),
        shape: fc.array(fc.nat(3), { maxLength: 3 }),
        fill: fc.nat(255),
      })
      .map(({ dtype, shape, fill }) => {
        const length = shape.reduce((product, size) => product * size, sizes[dtype]);
        return { dtype, shape, data: new Uint8Array(length).fill(fill) };
      });
    const named = fc.uniqueArray(fc.tuple(fc.string({ unit: "grapheme" }), tensor), {
      selector: ([name]) => name,
      maxLength: 5,
    });
    const check = (entries: [string, StoredTensor][], metadata: Record<string, string>) => {
      writeSafetensors(file, entries, metadata);
      const read = readSafetensors(file);
      expect(read.metadata).toEqual(metadata);
      expect(read.tensors).toEqual(new Map(entries));
    };
    fc.assert(fc.property(named, fc.dictionary(fc.string(), fc.string(), { maxKeys: 3 }), check), {
      numRuns: 60,
    });
  });
});

describe("damage", () => {
  const entry = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}';
  const cases: readonly (readonly [string, Buffer, string])[] = [
    ["an empty file", Buffer.alloc(0), "the length of the header ends after 0 of 8 bytes"],
    [
      "a header longer than the file",
      Buffer.from("ff00000000000000", "hex"),
      "announce a header of 255 bytes",
    ],
    ["a header of absurd length", Buffer.from("ffffffffffffff7f", "hex"), "bytes 0-7 announce a header"],
    ["a header that is not JSON", rawFile("{ 3 }", Buffer.alloc(0)), "the header is not JSON"],
    ["a header that is a list", rawFile("[]", Buffer.alloc(0)), "not a JSON object"],
    ["a tensor without description", rawFile('{"w":3}', Buffer.alloc(0)), 'tensor "w" has no description'],
    ["an unknown dtype", rawFile(`{"w":${entry.replace("F32", "F8_E4M3")}}`, Buffer.alloc(8)), '"F8_E4M3"'],
    ["a negative size", rawFile(`{"w":${entry.replace("[2]", "[-2]")}}`, Buffer.alloc(8)), "shape [-2]"],
    ["one offset", rawFile(`{"w":${entry.replace("0,8", "0")}}`, Buffer.alloc(8)), "data_offsets [0]"],
    [
      "offsets against the shape",
      rawFile(`{"w":${entry.replace("[2]", "[3]")}}`, Buffer.alloc(8)),
      'tensor "w": F32 [3] takes 12 bytes, but data_offsets [0, 8] span 8',
    ],
    [
      "an overlap",
      rawFile(`{"v":${entry},"w":${entry.replace("0,8", "4,12")}}`, Buffer.alloc(12)),
      "overlaps",
    ],
    ["a gap", rawFile(`{"w":${entry.replace("0,8", "4,12")}}`, Buffer.alloc(12)), "follows 4 unused bytes"],
    ["a lost end", rawFile(`{"w":${entry}}`, Buffer.alloc(7)), "its tensors end at byte"],
    ["bytes too many", rawFile(`{"w":${entry}}`, Buffer.alloc(9)), "its tensors end at byte"],
    ["metadata of numbers", rawFile('{"__metadata__":{"a":1}}', Buffer.alloc(0)), '"a" is not a string'],
  ];

  test.each(cases)("%s is named", (_what, bytes, message) => {
    fs.writeFileSync(file, bytes);
    expect(() => readSafetensors(file)).toThrow(UserError);
    expect(() => readSafetensorsHeader(file)).toThrow(message);
    expect(() => readSafetensors(file)).toThrow(file);
    expect(() => readSafetensors(file)).not.toThrow(/\n/);
  });

  test("a missing file is named", () => {
    expect(() => readSafetensors(file)).toThrow(`cannot read ${file} (ENOENT)`);
  });
});
