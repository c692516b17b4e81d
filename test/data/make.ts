/** Small data files made by hand, so that what a test expects does not come from the code under test. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import zlib from "node:zlib";
import sharp from "sharp";
import { pack } from "tar-stream";
import { afterEach, beforeEach } from "vitest";

/** A fresh folder for each test of the file, with cache and settings inside it; returns a way to name paths in it. */
export function useTemporaryFolder(): (...parts: string[]) => string {
  const names = ["VARIDIFF_CACHE", "XDG_CONFIG_HOME", "VARIDIFF_DATA"] as const;
  let root = "";
  let before: (string | undefined)[] = [];
  beforeEach(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-data-"));
    before = names.map((name) => process.env[name]);
    process.env.VARIDIFF_CACHE = path.join(root, "cache");
    process.env.XDG_CONFIG_HOME = path.join(root, "config");
    delete process.env.VARIDIFF_DATA;
  });
  afterEach(() => {
    names.forEach((name, i) => {
      const value = before[i];
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    });
    fs.rmSync(root, { recursive: true, force: true });
  });
  return (...parts) => path.join(root, ...parts);
}

/** Writes `bytes` at `file`, with the folders on the way. */
export function put(file: string, bytes: Uint8Array | string): string {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, bytes);
  return file;
}

/** An IDX file of unsigned bytes. */
export function idxFile(dimensions: readonly number[], data: ArrayLike<number>): Buffer {
  const header = Buffer.alloc(4 + 4 * dimensions.length);
  header.writeUInt32BE(0x800 + dimensions.length, 0);
  dimensions.forEach((size, i) => {
    header.writeUInt32BE(size, 4 + 4 * i);
  });
  return Buffer.concat([header, Buffer.from(Uint8Array.from(data))]);
}

/** An npy file, format version 1.0. */
export function npyFile(descr: string, shape: readonly number[], data: Uint8Array): Buffer {
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dims}), }`;
  const padded = `${text.padEnd(128 - 10 - 1)}\n`;
  const length = Buffer.alloc(2);
  length.writeUInt16LE(padded.length);
  return Buffer.concat([Buffer.from("\x93NUMPY\x01\x00", "latin1"), length, Buffer.from(padded), data]);
}

/** A zip archive after PKWARE's APPNOTE: local headers and data, central directory, end record. */
export function zipFile(
  files: Readonly<Record<string, Uint8Array>>,
  method: "stored" | "deflated" = "stored",
): Buffer {
  const local: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const [name, bytes] of Object.entries(files)) {
    const data = method === "deflated" ? zlib.deflateRawSync(bytes) : Buffer.from(bytes);
    const shared = Buffer.alloc(26);
    shared.writeUInt16LE(20, 0);
    shared.writeUInt16LE(method === "deflated" ? 8 : 0, 4);
    shared.writeUInt32LE(zlib.crc32(bytes), 10);
    shared.writeUInt32LE(data.length, 14);
    shared.writeUInt32LE(bytes.length, 18);
    shared.writeUInt16LE(name.length, 22);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    const entry = Buffer.concat([Buffer.from("PK\x03\x04"), shared, Buffer.from(name), data]);
    central.push(Buffer.from("PK\x01\x02\x14\x00"), shared, tail, Buffer.from(name));
    local.push(entry);
    offset += entry.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(Object.keys(files).length, 4);
  end.writeUInt16LE(Object.keys(files).length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...local, directory, Buffer.from("PK\x05\x06"), end]);
}

/** A tar archive of these files. */
export async function tarFile(files: Readonly<Record<string, Uint8Array>>): Promise<Buffer> {
  const archive = pack();
  for (const [name, bytes] of Object.entries(files)) archive.entry({ name }, Buffer.from(bytes));
  archive.finalize();
  const pieces: Buffer[] = [];
  for await (const piece of archive) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

/** A PNG of `[H, W, 3]` pixels, or of `[H, W, 1]` ones stored as grey. */
export async function pngFile(width: number, height: number, pixels: readonly number[]): Promise<Buffer> {
  const channels = pixels.length / (width * height) === 1 ? 1 : 3;
  const image = sharp(Uint8Array.from(pixels), { raw: { width, height, channels } });
  return (channels === 1 ? image.toColourspace("b-w") : image).png().toBuffer();
}

/** A colour PNG of one colour. */
export function plainPng(side: number, colour: readonly [number, number, number]): Promise<Buffer> {
  return pngFile(
    side,
    side,
    Array.from({ length: side * side }).flatMap(() => colour),
  );
}
