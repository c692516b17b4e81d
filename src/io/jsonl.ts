/** JSON Lines: a journal of records, one a line, that survives a crash in the middle of a line. */
import fs from "node:fs";
import { UserError } from "../errors.js";
import { AppendOnlyFile, explained, writeFileAtomic } from "./files.js";

const NEWLINE = 0x0a;

interface Line {
  readonly number: number;
  readonly text: string;
}

interface Journal {
  readonly lines: readonly Line[];
  /** Bytes up to the end of the last whole record. */
  readonly wholeBytes: number;
  /** Whether the last whole record lacks its line end. */
  readonly unended: boolean;
}

function parseRecord(text: string): object | undefined {
  try {
    const record: unknown = JSON.parse(text);
    return typeof record === "object" && record !== null && !Array.isArray(record) ? record : undefined;
  } catch {
    return undefined;
  }
}

/** Splits a journal; a last line without its line end counts only if it is a whole record. */
function readLines(file: string): Journal {
  const bytes = explained("read", file, () => fs.readFileSync(file));
  const lines: Line[] = [];
  let begin = 0;
  for (let number = 1; begin < bytes.length; number++) {
    const newline = bytes.indexOf(NEWLINE, begin);
    const end = newline < 0 ? bytes.length : newline;
    const text = bytes.toString("utf8", begin, end);
    if (newline < 0 && parseRecord(text) === undefined) return { lines, wholeBytes: begin, unended: false };
    if (text.trim() !== "") lines.push({ number, text });
    if (newline < 0) return { lines, wholeBytes: bytes.length, unended: true };
    begin = end + 1;
  }
  return { lines, wholeBytes: bytes.length, unended: false };
}

function parseLine<T>(file: string, { number, text }: Line): T {
  const record = parseRecord(text);
  if (record !== undefined) return record as T;
  const start = JSON.stringify(text.slice(0, 40));
  throw new UserError(
    `${file}, line ${number}: expected a JSON object, found ${start}: mend or delete that line`,
  );
}

/**
 * Appends records to a journal, one write each; a torn last line that a crash left is removed first. `NaN` and the
 * infinities, which JSON has not, become the strings "NaN", "Infinity" and "-Infinity" (`Number(...)` restores them).
 */
export class JsonlWriter {
  readonly #file: AppendOnlyFile;

  /** Opens the journal `file`, or creates it. */
  constructor(file: string) {
    if (!fs.existsSync(file)) {
      this.#file = new AppendOnlyFile(file);
      return;
    }
    const journal = readLines(file);
    this.#file = new AppendOnlyFile(file, { keep: journal.wholeBytes });
    if (journal.unended) this.#file.append(Buffer.from("\n"));
  }

  /** @throws UserError when the disk is full; the journal then still ends with the record before. */
  append(record: object): void {
    const text = JSON.stringify(record, (_key, value: unknown) =>
      typeof value === "number" && !Number.isFinite(value) ? String(value) : value,
    );
    this.#file.append(Buffer.from(`${text}\n`, "utf8"));
  }

  /** Waits until every record is on the disk. */
  sync(): void {
    this.#file.sync();
  }

  close(): void {
    this.#file.close();
  }
}

/**
 * The records of a journal, in order; a torn last line is ignored.
 *
 * @throws UserError naming the line when an earlier one is damaged, or when the file cannot be read.
 */
export function readJsonl<T = Record<string, unknown>>(file: string): T[] {
  return readLines(file).lines.map((line) => parseLine<T>(file, line));
}

/**
 * Rewrites a journal, atomically, with only the records that `keep` accepts, each byte for byte as it was; returns
 * the number of records dropped. A journal that is not there has none.
 *
 * @throws UserError naming the line when one is damaged, or when the file cannot be written.
 */
export function truncateJsonl<T = Record<string, unknown>>(
  file: string,
  keep: (record: T) => boolean,
): number {
  if (!fs.existsSync(file)) return 0;
  const { lines } = readLines(file);
  const kept = lines.filter((line) => keep(parseLine<T>(file, line)));
  if (kept.length < lines.length) writeFileAtomic(file, kept.map(({ text }) => `${text}\n`).join(""));
  return lines.length - kept.length;
}
