/** Whole files, gzipped or not, with the place of the damage where there is one. */
import fs from "node:fs";
import zlib from "node:zlib";
import { UserError } from "../errors.js";

/** The bytes of `file`, decompressed where its name ends in `.gz`. */
export function readMaybeGzipped(file: string): Buffer {
  const bytes = fs.readFileSync(file);
  if (!file.endsWith(".gz")) return bytes;
  try {
    return zlib.gunzipSync(bytes);
  } catch (error) {
    throw new UserError(
      `${file}: ${gzipDamage(bytes, error as NodeJS.ErrnoException)}; fetch the file again`,
      {
        cause: error,
      },
    );
  }
}

function gzipDamage(bytes: Buffer, error: NodeJS.ErrnoException): string {
  if (error.code !== "Z_BUF_ERROR")
    return `expected gzip data, but: ${error.message} (file of ${bytes.length} bytes)`;
  const whole = zlib.gunzipSync(bytes, { finishFlush: zlib.constants.Z_SYNC_FLUSH }).length;
  return `gzip data breaks off at byte ${bytes.length}, the end of the file, after ${whole} decompressed bytes`;
}
