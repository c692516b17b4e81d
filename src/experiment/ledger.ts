/** What an evaluation has measured so far, on disk: it survives an interruption, and shards find each other by it. */
import fs from "node:fs";
import path from "node:path";
import { explained, JsonlWriter, makeFolder, readJsonl, writeFileAtomic } from "../io/index.js";
import type { JsonObject, JsonValue } from "./checkpoint-files.js";
import type { Numbers, Piece } from "./work.js";

/** Every `of`th piece, from piece `index` on; `index` counts from 1. */
export interface Shard {
  readonly index: number;
  readonly of: number;
}

/** What is kept of a piece. */
export interface Entry {
  readonly numbers: Numbers;
  /** What measuring it took. */
  readonly seconds: number;
}

/** A line of a part file after the first, which is the request. */
type Line = Entry & Pick<Piece, "part" | "pass" | "batch">;

type Part = { readonly entries: readonly Line[] } | { readonly differs: string };

/**
 * The part files `<name>.part<i>of<n>.jsonl` of one result. Each is written by one process: its first line is the
 * request, everything that the numbers depend on, and then comes a line for each piece. Whatever the shards were, the
 * parts of the same request belong together.
 */
export class Ledger {
  /** Why what another request left here was not used, a line each. */
  readonly notes: readonly string[];
  readonly #folder: string;
  readonly #name: string;
  readonly #request: JsonObject;
  readonly #journal: JsonlWriter;
  /** Kept in memory too, so that another request cannot take away what is measured now. */
  readonly #entries = new Map<string, Entry>();

  /**
   * Opens the part of `shard` and reads those of the others; a part of another request is begun afresh.
   * @throws UserError when the folder cannot be written, or naming the line of a part that is damaged before its end
   */
  constructor(
    folder: string,
    o: { readonly name: string; readonly request: JsonObject; readonly shard: Shard },
  ) {
    this.#folder = folder;
    this.#name = o.name;
    this.#request = o.request;
    makeFolder(folder);
    const own = path.join(folder, partName(o.name, o.shard));
    const notes: string[] = [];
    const there = fs.existsSync(own) ? readPart(own, o.request) : undefined;
    if (there && "differs" in there)
      notes.push(`starting afresh: ${own} is of another request (${there.differs})`);
    if (!there || "differs" in there) writeFileAtomic(own, `${JSON.stringify({ request: o.request })}\n`);
    this.#journal = new JsonlWriter(own);
    this.notes = notes;
    this.gather();
  }

  has(piece: Piece): boolean {
    return this.#entries.has(keyOf(piece));
  }

  get(piece: Piece): Entry | undefined {
    return this.#entries.get(keyOf(piece));
  }

  /** @throws UserError when the disk is full; what was kept before is still there */
  append(piece: Piece, entry: Entry): void {
    const { part, pass, batch } = piece;
    this.#journal.append({ part, pass, batch, ...entry });
    this.#entries.set(keyOf(piece), entry);
  }

  /** Reads what all parts of the request hold by now; returns why others of the same name are left out, a line each. */
  gather(): readonly string[] {
    const left: string[] = [];
    for (const file of this.#parts()) {
      const part = readPart(file, this.#request);
      if ("differs" in part) left.push(`not used: ${file} is of another request (${part.differs})`);
      else
        for (const { part: of, pass, batch, ...entry } of part.entries)
          this.#entries.set(keyOf({ part: of, pass, batch }), entry);
    }
    return left;
  }

  /** Lets go of the part, which stays on disk. */
  close(): void {
    this.#journal.sync();
    this.#journal.close();
  }

  /** Deletes the parts of the request: the result is written. */
  remove(): void {
    for (const file of this.#parts())
      if ("entries" in readPart(file, this.#request)) fs.rmSync(file, { force: true });
  }

  #parts(): readonly string[] {
    return explained("read", this.#folder, () => fs.readdirSync(this.#folder))
      .filter((name) => name.startsWith(`${this.#name}.part`) && name.endsWith(".jsonl"))
      .map((name) => path.join(this.#folder, name));
  }
}

/** Where two requests first differ, in words; undefined where they are the same. */
export function difference(
  was: JsonValue | undefined,
  now: JsonValue | undefined,
  at = "",
): string | undefined {
  if (isObject(was) && isObject(now)) {
    for (const key of new Set([...Object.keys(now), ...Object.keys(was)])) {
      const found = difference(was[key], now[key], at === "" ? key : `${at}.${key}`);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  const [before, after] = [JSON.stringify(was), JSON.stringify(now)];
  return before === after ? undefined : `${at} ${before ?? "none"}, not ${after ?? "none"}`;
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function partName(name: string, { index, of }: Shard): string {
  return `${name}.part${index}of${of}.jsonl`;
}

function keyOf({ part, pass, batch }: Pick<Piece, "part" | "pass" | "batch">): string {
  return `${part}/${pass}/${batch}`;
}

/** A part as far as it is whole; a part that another process has just removed is empty. */
function readPart(file: string, request: JsonObject): Part {
  let lines: ({ readonly request: JsonObject } | Line)[];
  try {
    lines = readJsonl(file);
  } catch (error) {
    if (fs.existsSync(file)) throw error;
    return { entries: [] };
  }
  const [first, ...rest] = lines;
  if (first === undefined || !("request" in first)) return { differs: "it has no first line" };
  const differs = difference(first.request, request);
  if (differs !== undefined) return { differs };
  return { entries: rest.filter((line): line is Line => "numbers" in line).map(restored) };
}

/** JSON has no NaN and no infinities; a journal holds them as strings. */
function restored(line: Line): Line {
  const numbers = Object.entries(line.numbers).map(([name, values]) => [name, values.map(Number)] as const);
  return { ...line, numbers: Object.fromEntries(numbers) };
}
