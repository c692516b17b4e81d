/** Files inside a folder, a zip or a tar archive, seen alike: a list of names, then their bytes one by one. */
import fs from "node:fs";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import zlib from "node:zlib";
import { type Extract, extract as tarExtract } from "tar-stream";
import { UserError } from "../errors.js";
import { readZipEntry, zipEntries } from "./zip.js";

/** A file of a container: its name inside, with `/` between folders, and its bytes. */
export interface ContainedFile {
  readonly name: string;
  readonly bytes: Buffer;
}

/** A folder, zip or tar archive. */
export interface Container {
  /** The names of all files, in the container's order. */
  list(): Promise<string[]>;
  /** The files whose names are wanted, in the container's order. */
  files(wanted: ReadonlySet<string>): AsyncGenerator<ContainedFile>;
}

/** Whether a file's name is that of an archive that `openContainer` reads. */
export function isArchive(file: string): boolean {
  return /\.(zip|tar|tar\.gz|tgz)$/i.test(file);
}

/** The container at `place`: a folder, or an archive ending in `.zip`, `.tar`, `.tar.gz` or `.tgz`. */
export function openContainer(place: string): Container {
  if (fs.statSync(place).isDirectory()) return folderContainer(place);
  return /\.zip$/i.test(place) ? zipContainer(place) : tarContainer(place);
}

function folderContainer(root: string): Container {
  return {
    async list() {
      return fs
        .readdirSync(root, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() || entry.isSymbolicLink())
        .map((entry) =>
          path.relative(root, path.join(entry.parentPath, entry.name)).split(path.sep).join("/"),
        );
    },
    async *files(wanted) {
      for (const name of wanted) yield { name, bytes: fs.readFileSync(path.join(root, name)) };
    },
  };
}

function zipContainer(file: string): Container {
  return {
    async list() {
      const names: string[] = [];
      for await (const entry of zipEntries(file)) names.push(entry.name);
      return names;
    },
    async *files(wanted) {
      for await (const entry of zipEntries(file))
        if (wanted.has(entry.name)) yield { name: entry.name, bytes: await readZipEntry(entry) };
    },
  };
}

function tarContainer(file: string): Container {
  return {
    async list() {
      const names: string[] = [];
      for await (const entry of tarEntries(file)) {
        names.push(entry.header.name);
        entry.resume();
      }
      return names;
    },
    async *files(wanted) {
      for await (const entry of tarEntries(file)) {
        const { name } = entry.header;
        if (!wanted.has(name)) {
          entry.resume();
          continue;
        }
        const pieces: Buffer[] = [];
        for await (const piece of entry) pieces.push(piece as Buffer);
        yield { name, bytes: Buffer.concat(pieces) };
      }
    },
  };
}

type Entry = Extract extends AsyncIterable<infer E> ? E : never;

/** The regular files of a tar archive, plain or gzipped; each must be read or skipped before the next. */
async function* tarEntries(file: string): AsyncGenerator<Entry> {
  const extract = tarExtract();
  const raw = fs.createReadStream(file);
  const reading = /gz$/i.test(file) ? pipeline(raw, zlib.createGunzip(), extract) : pipeline(raw, extract);
  reading.catch(() => {}); // The same error ends the loop below.
  let last = "the start";
  try {
    for await (const entry of extract) {
      if (entry.header.type === "file") {
        last = `"${entry.header.name}"`;
        yield entry;
      } else entry.resume();
    }
    await reading;
  } catch (error) {
    if (error instanceof UserError || (error as NodeJS.ErrnoException).syscall) throw error;
    throw new UserError(
      `${file}: expected a whole tar archive, but it breaks off after ${last} (${raw.bytesRead} bytes read): ` +
        `${(error as Error).message}; fetch the file again`,
      { cause: error },
    );
  } finally {
    raw.destroy();
  }
}
