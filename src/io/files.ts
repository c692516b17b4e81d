/** Files and folders that are written whole or not at all, and append-only files. */
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { UserError } from "../errors.js";

/** Every temporary name starts so: what a crash left behind is recognised by it. */
const TEMPORARY = ".tmp-";
/** The name under which a folder waits while its successor is moved into its place. */
const REPLACED = `${TEMPORARY}replaced-`;
/** Linux moves at most 2 GiB a call, and Node counts a length in 31 bits. */
const CHUNK_BYTES = 1 << 28;

const ADVICE: Readonly<Record<string, string>> = {
  ENOSPC: "no space is left on the device: free some and try again",
  EDQUOT: "the disk quota is used up: free some space and try again",
  EACCES: "permission denied: choose a place that is yours to use",
  EPERM: "permission denied: choose a place that is yours to use",
  EROFS: "the file system is read-only: choose another place",
  ENOENT: "there is no such file or folder: check the path",
  ENOTDIR: "a part of the path is a file, not a folder: check the path",
  EEXIST: "a file of that name is where a folder is needed: choose another place",
  EISDIR: "a file was expected, but this is a folder: check the path",
};

function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/**
 * The error to throw when `action` on `file` failed: a `UserError` of one line for what a user can mend (full disk,
 * quota, permission, missing path), otherwise `error` itself.
 */
export function fileError(action: "read" | "write", file: string, error: unknown): unknown {
  const code = errorCode(error);
  const advice = code === undefined ? undefined : ADVICE[code];
  if (advice === undefined) return error;
  const reassurance = action === "write" ? "; nothing written earlier was lost" : "";
  return new UserError(`cannot ${action} ${file} (${code}): ${advice}${reassurance}`, { cause: error });
}

/** What `run` returns; its errors go through `fileError`. */
export function explained<Result>(action: "read" | "write", file: string, run: () => Result): Result {
  try {
    return run();
  } catch (error) {
    throw fileError(action, file, error);
  }
}

/** Writes all of `data` at the file's position, however little each call takes. */
function writeAll(descriptor: number, data: Uint8Array): void {
  for (let done = 0; done < data.length; ) {
    done += fs.writeSync(descriptor, data, done, Math.min(CHUNK_BYTES, data.length - done));
  }
}

/** Fills `into` from `position` on; the number of bytes read is smaller only where the file ends. */
export function readInto(descriptor: number, into: Uint8Array, position: number): number {
  let done = 0;
  while (done < into.length) {
    const length = Math.min(CHUNK_BYTES, into.length - done);
    const count = fs.readSync(descriptor, into, done, length, position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** Waits until the file or folder is on the disk; some file systems cannot sync a folder, which is theirs to answer for. */
function sync(file: string): void {
  const descriptor = fs.openSync(file, "r");
  try {
    fs.fsyncSync(descriptor);
  } catch (error) {
    const code = errorCode(error);
    if (code !== "EINVAL" && code !== "ENOTSUP") throw error;
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Depth first, so that a folder is synced after what it names. */
function syncTree(folder: string): void {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const child = path.join(folder, entry.name);
    if (entry.isDirectory()) syncTree(child);
    else if (entry.isFile()) sync(child);
  }
  sync(folder);
}

/** Makes a folder and those above it, where they are not there yet. @throws UserError when that cannot be. */
export function makeFolder(folder: string): void {
  explained("write", folder, () => fs.mkdirSync(folder, { recursive: true }));
}

/** Finds out before long work whether `makeFolder` could, and makes nothing. @throws UserError when it could not. */
export function checkFolder(folder: string): void {
  let nearest = path.resolve(folder);
  while (!fs.existsSync(nearest)) nearest = path.dirname(nearest);
  // What ends in "/." is there only where it is a folder.
  explained("write", folder, () => fs.accessSync(`${nearest}/.`, fs.constants.W_OK));
}

function temporaryBeside(target: string): string {
  return path.join(path.dirname(target), `${TEMPORARY}${randomBytes(8).toString("hex")}`);
}

/** Removes what is there, and never hides the error that made it necessary. */
function removeQuietly(target: string): void {
  try {
    fs.rmSync(target, { recursive: true, force: true });
  } catch {
    // The temporary stays; removeLeftovers finds it later.
  }
}

/**
 * Writes a file of these chunks so that its name always points to a whole file, the old one or the new one: a
 * temporary name in the same folder, write, fsync, rename, fsync of the folder. A failure removes the temporary.
 *
 * @throws UserError naming the file when the disk is full or the place cannot be written.
 */
export function writeChunksAtomic(file: string, chunks: Iterable<Uint8Array>): void {
  const target = path.resolve(file);
  const temporary = temporaryBeside(target);
  explained("write", file, () => {
    try {
      const descriptor = fs.openSync(temporary, "wx");
      try {
        for (const chunk of chunks) writeAll(descriptor, chunk);
        fs.fsyncSync(descriptor);
      } finally {
        fs.closeSync(descriptor);
      }
      fs.renameSync(temporary, target);
      sync(path.dirname(target));
    } catch (error) {
      removeQuietly(temporary);
      throw error;
    }
  });
}

/** `writeChunksAtomic` of one chunk; a string is written as UTF-8. */
export function writeFileAtomic(file: string, data: Uint8Array | string): void {
  writeChunksAtomic(file, [typeof data === "string" ? Buffer.from(data, "utf8") : data]);
}

/**
 * Writes a folder so that its name always points to a whole one: `write` fills a temporary folder beside it, every
 * file is fsynced, and the folder is renamed into place. A folder of that name is replaced; between the two renames
 * that takes, a crash leaves the old one aside, and `removeLeftovers` puts it back.
 *
 * @throws UserError naming the folder when the disk is full or the place cannot be written; else what `write` throws.
 */
export function writeFolderAtomic(folder: string, write: (temporary: string) => void): void {
  const target = path.resolve(folder);
  const temporary = temporaryBeside(target);
  try {
    explained("write", folder, () => fs.mkdirSync(temporary));
    fill(folder, temporary, write);
    explained("write", folder, () => {
      syncTree(temporary);
      moveIntoPlace(temporary, target);
    });
  } catch (error) {
    removeQuietly(temporary);
    throw error;
  }
}

/** A full disk is told of the folder, whichever file in it met it; other errors are the caller's own. */
function fill(folder: string, temporary: string, write: (temporary: string) => void): void {
  try {
    write(temporary);
  } catch (error) {
    const cause = error instanceof UserError ? error.cause : error;
    const code = errorCode(cause);
    throw code === "ENOSPC" || code === "EDQUOT" ? fileError("write", folder, cause) : error;
  }
}

/** Renames a folder, if need be over another one. */
function moveIntoPlace(temporary: string, target: string): void {
  const replaced = path.join(path.dirname(target), `${REPLACED}${path.basename(target)}`);
  restoreOrRemove(replaced, target);
  const exists = fs.existsSync(target);
  if (exists) fs.renameSync(target, replaced);
  try {
    fs.renameSync(temporary, target);
  } catch (error) {
    if (exists) fs.renameSync(replaced, target);
    throw error;
  }
  sync(path.dirname(target));
  if (exists) removeQuietly(replaced);
}

/** What a crash left between the two renames of a replacement: the old folder goes back, or goes away. */
function restoreOrRemove(replaced: string, target: string): void {
  if (!fs.existsSync(replaced)) return;
  if (fs.existsSync(target)) fs.rmSync(replaced, { recursive: true, force: true });
  else fs.renameSync(replaced, target);
}

/**
 * Deletes what a crash left in `parent` (names that start with `.tmp-`), puts back a folder whose replacement never
 * arrived, and returns the number of entries dealt with. To be called by the only writer of that folder: the
 * temporaries of another one at work would go too.
 */
export function removeLeftovers(parent: string): number {
  return explained("write", parent, () => {
    const leftovers = fs.readdirSync(parent).filter((name) => name.startsWith(TEMPORARY));
    for (const name of leftovers) {
      const leftover = path.join(parent, name);
      if (name.startsWith(REPLACED))
        restoreOrRemove(leftover, path.join(parent, name.slice(REPLACED.length)));
      else fs.rmSync(leftover, { recursive: true, force: true });
    }
    return leftovers.length;
  });
}

/** A file that only grows, by whole records: a record that could not be written entirely is taken back. */
export class AppendOnlyFile {
  readonly path: string;
  readonly #descriptor: number;
  #length: number;
  #open = true;

  /** Opens `file`, or creates it; `keep` says how many of the bytes in it stay (default: all). */
  constructor(file: string, options: { readonly keep?: number } = {}) {
    this.path = file;
    [this.#descriptor, this.#length] = explained("write", file, () => {
      const descriptor = fs.openSync(file, "a");
      const { size } = fs.fstatSync(descriptor);
      const length = Math.min(size, options.keep ?? size);
      if (length < size) fs.ftruncateSync(descriptor, length);
      return [descriptor, length] as const;
    });
  }

  /** @throws UserError when the disk is full; the file then still ends with the record before. */
  append(record: Uint8Array): void {
    if (!this.#open) throw new Error(`${this.path} is closed: nothing can be appended`);
    explained("write", this.path, () => {
      try {
        writeAll(this.#descriptor, record);
      } catch (error) {
        this.#takeBack();
        throw error;
      }
    });
    this.#length += record.length;
  }

  /** Removes what a failed append wrote, and never hides the error that made it necessary. */
  #takeBack(): void {
    try {
      fs.ftruncateSync(this.#descriptor, this.#length);
    } catch {
      // A torn record stays at the end, which every reader of such files ignores.
    }
  }

  /** Waits until everything appended is on the disk. */
  sync(): void {
    explained("write", this.path, () => fs.fsyncSync(this.#descriptor));
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    fs.closeSync(this.#descriptor);
  }
}
