/** The entries of a zip archive as checked streams; damage is reported with the archive's and the entry's name. */
import zlib from "node:zlib";
import yauzl, { type Entry, type ZipFile } from "yauzl";
import { UserError } from "../errors.js";

/** One file of a zip archive. */
export interface ZipEntry {
  readonly name: string;
  /** Bytes after decompression. */
  readonly size: number;
  /** Its bytes in pieces; throws a `UserError` at the end where their CRC-32 is not the recorded one. */
  stream(): AsyncGenerator<Buffer>;
}

/** The files of the archive `file`, in the archive's order; each can be streamed until the next one is asked for. */
export async function* zipEntries(file: string): AsyncGenerator<ZipEntry> {
  let archive: ZipFile | undefined;
  try {
    archive = await yauzl.openPromise(file, { autoClose: false });
    for await (const entry of archive.eachEntry()) {
      if (entry.fileName.endsWith("/")) continue;
      const opened = archive;
      yield {
        name: entry.fileName,
        size: entry.uncompressedSize,
        stream: () => checkedStream(opened, entry, `${file}: entry "${entry.fileName}"`),
      };
    }
  } catch (error) {
    throw damaged(file, error);
  } finally {
    archive?.close();
  }
}

/** All bytes of `entry`. */
export async function readZipEntry(entry: ZipEntry): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of entry.stream()) pieces.push(piece);
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
}

async function* checkedStream(archive: ZipFile, entry: Entry, place: string): AsyncGenerator<Buffer> {
  let sum = 0;
  try {
    for await (const piece of await archive.openReadStreamPromise(entry)) {
      sum = zlib.crc32(piece, sum);
      yield piece;
    }
  } catch (error) {
    throw damaged(place, error);
  }
  if (sum !== entry.crc32)
    throw new UserError(
      `${place}: expected CRC-32 ${hex(entry.crc32)}, found ${hex(sum)}; fetch the file again`,
    );
}

function damaged(place: string, error: unknown): unknown {
  const known = error instanceof UserError || (error as NodeJS.ErrnoException).syscall !== undefined;
  if (known || !(error instanceof Error)) return error;
  return new UserError(
    `${place}: expected a whole zip archive, but: ${error.message}; fetch the file again`,
    {
      cause: error,
    },
  );
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}
