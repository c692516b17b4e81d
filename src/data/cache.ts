/** Decoded images on disk: made once, complete or not there at all, read with positional reads. */
import { createHash, randomUUID } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { UserError } from "../errors.js";
import { fileError, readInto, writeFileAtomic } from "../io/files.js";
import {
  fileSource,
  fingerprint,
  type ImageShape,
  type ImageSource,
  imageBytes,
  type Split,
} from "./source.js";

/** Changes whenever the same files would decode to other bytes, so that older caches are not read. */
const formatVersion = 1;

/** The folder of decoded data sets: under `VARIDIFF_CACHE`, `XDG_CACHE_HOME` or `~/.cache`, in this order. */
export function cacheFolder(): string {
  const root = process.env.VARIDIFF_CACHE || process.env.XDG_CACHE_HOME || path.join(os.homedir(), ".cache");
  return path.join(root, "varidiff", "data");
}

/** What decoded images are made from; all of it is in the key under which they are kept. */
export interface DecodeIdentity {
  readonly name: string;
  readonly split: Split;
  readonly origin: string;
  /** The files that are read. */
  readonly files: readonly string[];
  /** Everything else that the bytes depend on. */
  readonly settings: Readonly<Record<string, string | number | undefined>>;
}

/** What decoding has found out, apart from the pixels it wrote. */
export interface Decoded {
  readonly shape: ImageShape;
  readonly length: number;
  readonly labels?: ArrayLike<number>;
  readonly classes?: readonly string[];
}

/** The pixels being written, `[N, C, H, W]`. */
export class PixelFile {
  private readonly file: string;
  private readonly descriptor: number;
  constructor(file: string) {
    this.file = file;
    this.descriptor = storing(file, () => fs.openSync(file, "w+"));
  }
  write(bytes: Uint8Array, position: number): void {
    storing(this.file, () => {
      for (let done = 0; done < bytes.length; )
        done += fs.writeSync(this.descriptor, bytes, done, bytes.length - done, position + done);
    });
  }
  read(into: Uint8Array, position: number): number {
    return readInto(this.descriptor, into, position);
  }
  truncate(length: number): void {
    fs.ftruncateSync(this.descriptor, length);
  }
  /** Everything written, in pieces of a few mebibytes. */
  *chunks(): Generator<Uint8Array> {
    const buffer = new Uint8Array(4 << 20);
    let position = 0;
    for (let got = this.read(buffer, 0); got > 0; got = this.read(buffer, position)) {
      yield buffer.subarray(0, got);
      position += got;
    }
  }
  sync(): void {
    storing(this.file, () => fs.fsyncSync(this.descriptor));
  }
  close(): void {
    fs.closeSync(this.descriptor);
  }
}

interface Meta {
  readonly shape: ImageShape;
  readonly length: number;
  readonly labelled: boolean;
  readonly classes?: readonly string[];
  readonly fingerprint: string;
}

/** The decoded images of `identity`: those of an earlier run, or else what `decode` writes now. */
export async function cachedSource(
  identity: DecodeIdentity,
  decode: (pixels: PixelFile) => Promise<Decoded>,
): Promise<ImageSource> {
  const folder = path.join(cacheFolder(), cacheKey(identity));
  const kept = openDecoded(folder, identity);
  if (kept) return kept;
  const temporary = `${folder}.tmp-${randomUUID()}`;
  try {
    storing(temporary, () => fs.mkdirSync(temporary, { recursive: true }));
    removeAbandoned(path.dirname(folder));
    await writeDecoded(temporary, decode);
    if (!openDecoded(folder, identity)) storing(folder, () => moveIntoPlace(temporary, folder));
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
  }
  const made = openDecoded(folder, identity);
  if (!made) throw new Error(`${folder}: decoded images vanished as they were put in place`);
  return made;
}

function cacheKey({ name, split, origin, files, settings }: DecodeIdentity): string {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([formatVersion, split, fs.realpathSync(origin), settings]));
  for (const file of files) {
    const { size, mtimeMs } = fs.statSync(file);
    hash.update(JSON.stringify([path.relative(origin, file), size, mtimeMs]));
  }
  return `${name.replace(/[^\w.-]+/g, "_")}-${split}-${hash.digest("hex").slice(0, 16)}`;
}

function openDecoded(folder: string, { name, split, origin }: DecodeIdentity): ImageSource | undefined {
  const file = path.join(folder, "pixels.bin");
  let meta: Meta;
  let labels: Int32Array | undefined;
  try {
    meta = JSON.parse(fs.readFileSync(path.join(folder, "meta.json"), "utf8"));
    if (fs.statSync(file).size !== meta.length * imageBytes(meta.shape)) return undefined;
    if (meta.labelled) {
      labels = new Int32Array(meta.length);
      const bytes = fs.readFileSync(path.join(folder, "labels.bin"));
      if (bytes.length !== labels.byteLength) return undefined;
      new Uint8Array(labels.buffer).set(bytes);
    }
  } catch {
    return undefined;
  }
  const { shape, length, classes, fingerprint } = meta;
  const description = {
    name,
    split,
    origin,
    shape,
    length,
    ...(labels && { labels }),
    ...(classes && { classes }),
  };
  return fileSource(description, { file, fingerprint });
}

async function writeDecoded(folder: string, decode: (pixels: PixelFile) => Promise<Decoded>): Promise<void> {
  const pixels = new PixelFile(path.join(folder, "pixels.bin"));
  try {
    const { shape, length, classes, ...found } = await decode(pixels);
    const labels = found.labels && Int32Array.from(found.labels);
    const meta: Meta = {
      shape,
      length,
      labelled: labels !== undefined,
      ...(classes && { classes }),
      fingerprint: fingerprint({ shape, length, ...(labels && { labels }) }, pixels.chunks()),
    };
    pixels.sync();
    storing(folder, () => {
      if (labels) writeFileAtomic(path.join(folder, "labels.bin"), new Uint8Array(labels.buffer));
      writeFileAtomic(path.join(folder, "meta.json"), JSON.stringify(meta));
    });
  } finally {
    pixels.close();
  }
}

/** Renames the finished folder; a damaged one in its place goes. */
function moveIntoPlace(temporary: string, folder: string): void {
  const damaged = `${folder}.tmp-${randomUUID()}`;
  if (fs.existsSync(folder)) fs.renameSync(folder, damaged);
  fs.renameSync(temporary, folder);
  fs.rmSync(damaged, { recursive: true, force: true });
}

/** Removes what killed runs have left half written: nothing was added to it for an hour. */
function removeAbandoned(parent: string): void {
  for (const name of fs.readdirSync(parent)) {
    if (!name.includes(".tmp-")) continue;
    const folder = path.join(parent, name);
    const pixels = fs.statSync(path.join(folder, "pixels.bin"), { throwIfNoEntry: false });
    const touched = pixels ?? fs.statSync(folder, { throwIfNoEntry: false });
    if (touched && Date.now() - touched.mtimeMs > 3_600_000)
      fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs what writes to the cache; a full disk, a quota or a permission becomes a `UserError`. */
function storing<R>(file: string, write: () => R): R {
  try {
    return write();
  } catch (error) {
    const explained = fileError("write", file, error);
    if (!(explained instanceof UserError)) throw explained;
    throw new UserError(`${explained.message}; VARIDIFF_CACHE may name another folder for decoded images`, {
      cause: error,
    });
  }
}
