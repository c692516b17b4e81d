/** Checkpoints on disk: whole or not there at all, verified when read, the newest never given up for the next. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { UserError } from "../errors.js";
import {
  fileError,
  removeLeftovers,
  type StoredTensor,
  writeFileAtomic,
  writeFolderAtomic,
  writeSafetensors,
} from "../io/index.js";
import type { Run } from "./run-folder.js";

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

export interface CheckpointContent {
  /** Training steps done. */
  readonly step: number;
  /** Tensors by the stem of their file: `weights`, `ema`, `optimiser`. */
  readonly tensors: Readonly<Record<string, Iterable<readonly [string, StoredTensor]>>>;
  /** Counters, data cursor, states of the random numbers: all a resumed run needs besides tensors. No NaN: JSON has none. */
  readonly state: JsonObject;
  /** How many of the newest checkpoints stay, at least 1; that of step 0 stays too. */
  readonly keep: number;
}

/** A checkpoint whose files are whole. */
export interface Checkpoint {
  readonly step: number;
  readonly dir: string;
  /** Paths of the safetensors files by their stem. */
  readonly files: Readonly<Record<string, string>>;
  readonly state: JsonObject;
}

/** What `state.json` holds, beside the SHA-256 of just this. */
interface StateFile {
  readonly format: 1;
  readonly step: number;
  readonly files: Readonly<Record<string, Fingerprint>>;
  readonly state: JsonObject;
}
interface Fingerprint {
  readonly bytes: number;
  readonly sha256: string;
}

const SUM_DIFFERS = "its SHA-256 differs from the recorded one";

/**
 * Writes `checkpoints/<step>/{<stem>.safetensors ..., state.json}`, points `checkpoints/latest` to it, and then
 * retires what `keep` lets go. Equal content gives equal bytes. To be called by the run's only writer.
 * @throws UserError when the disk is full or cannot be written; every earlier checkpoint is then still whole
 */
export function writeCheckpoint(run: Run, content: CheckpointContent): void {
  const parent = run.paths.checkpoints;
  makeFolder(parent);
  removeLeftovers(parent);
  writeFolderAtomic(path.join(parent, folderOf(content.step)), (folder) => {
    const files: Record<string, Fingerprint> = {};
    for (const [stem, tensors] of Object.entries(content.tensors)) {
      const file = path.join(folder, `${stem}.safetensors`);
      writeSafetensors(file, tensors);
      files[stem] = fingerprint(file);
    }
    const state: StateFile = { format: 1, step: content.step, files, state: content.state };
    writeFileAtomic(path.join(folder, "state.json"), stableJson({ ...state, sha256: stateSum(state) }));
  });
  writeFileAtomic(path.join(parent, "latest"), `${folderOf(content.step)}\n`);
  retire(run, content.step, content.keep);
}

/** The steps of the checkpoints that are there, whole or not, in rising order. */
export function listCheckpoints(run: Run): readonly number[] {
  if (!fs.existsSync(run.paths.checkpoints)) return [];
  return fs
    .readdirSync(run.paths.checkpoints)
    .filter((name) => /^\d{8,}$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);
}

/** What the newest checkpoint says of its training, whether its tensors are whole or not; nothing where there is none. */
export function newestState(run: Run): JsonObject | undefined {
  const step = listCheckpoints(run).at(-1);
  if (step === undefined) return undefined;
  return readState(path.join(run.paths.checkpoints, folderOf(step), "state.json"), step).state;
}

/**
 * The checkpoint of `step`, its files compared with the sizes and SHA-256 sums in its `state.json`.
 * @throws UserError for one that is not there or damaged, naming the file
 */
export function openCheckpoint(run: Run, step: number): Checkpoint {
  const dir = path.join(run.paths.checkpoints, folderOf(step));
  if (!fs.existsSync(dir)) {
    const there = listCheckpoints(run).join(", ") || "none";
    throw new UserError(`${run.dir} has no checkpoint of step ${step}; there are: ${there}`);
  }
  const { files, state } = readState(path.join(dir, "state.json"), step);
  const paths = Object.entries(files).map(([stem, expected]) => {
    const file = path.join(dir, `${stem}.safetensors`);
    verify(file, expected);
    return [stem, file];
  });
  return { step, dir, files: Object.fromEntries(paths), state };
}

/**
 * The newest checkpoint that is whole, none where there is none. Damaged newer ones are passed over, each with one
 * line in `warnings` that names the file.
 */
export function newestWholeCheckpoint(run: Run): {
  readonly checkpoint: Checkpoint | undefined;
  readonly warnings: readonly string[];
} {
  const warnings: string[] = [];
  for (const step of [...listCheckpoints(run)].reverse()) {
    try {
      return { checkpoint: openCheckpoint(run, step), warnings };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      // A trainer at work may have retired it meanwhile: then a newer one is there.
      if (!listCheckpoints(run).includes(step)) return newestWholeCheckpoint(run);
      warnings.push(error.message);
    }
  }
  return { checkpoint: undefined, warnings };
}

function makeFolder(folder: string): void {
  try {
    fs.mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw fileError("write", folder, error);
  }
}

/** Names of eight digits sort as their numbers do. */
function folderOf(step: number): string {
  return String(step).padStart(8, "0");
}

/**
 * Removes the checkpoints before the newest `keep` up to `step`. Later ones are damaged, else the run had gone on from
 * them; they wait to be replaced. A folder is renamed before it is deleted, so that no half-deleted one keeps its name.
 */
function retire(run: Run, step: number, keep: number): void {
  const steps = listCheckpoints(run).filter((other) => other <= step);
  for (const old of steps.slice(0, -Math.max(1, keep)).filter((other) => other !== 0)) {
    const retired = path.join(run.paths.checkpoints, `.tmp-retired-${folderOf(old)}`);
    fs.renameSync(path.join(run.paths.checkpoints, folderOf(old)), retired);
    fs.rmSync(retired, { recursive: true });
  }
}

function readState(file: string, step: number): StateFile {
  let parsed: Partial<StateFile & { readonly sha256: string }> | null;
  try {
    parsed = JSON.parse(fs.readFileSync(file, "utf8"));
  } catch (error) {
    throw damaged(file, error instanceof SyntaxError ? "it is not JSON" : "it cannot be read", error);
  }
  const { format, files, state, sha256 } = parsed ?? {};
  if (format !== 1 || files === undefined || state === undefined || parsed?.step !== step) {
    throw damaged(
      file,
      `expected format 1 and step ${step}; found format ${format} and step ${parsed?.step}`,
    );
  }
  const whole = { format, step, files, state };
  if (stateSum(whole) !== sha256) throw damaged(file, SUM_DIFFERS);
  return whole;
}

function stateSum(state: StateFile): string {
  return createHash("sha256").update(stableJson(state)).digest("hex");
}

function verify(file: string, expected: Fingerprint): void {
  let found: Fingerprint;
  try {
    found = fingerprint(file);
  } catch (error) {
    throw damaged(file, fs.existsSync(file) ? "it cannot be read" : "it is missing", error);
  }
  if (found.bytes !== expected.bytes) {
    throw damaged(file, `expected ${expected.bytes} bytes, found ${found.bytes}`);
  }
  if (found.sha256 !== expected.sha256) throw damaged(file, SUM_DIFFERS);
}

function damaged(file: string, why: string, cause?: unknown): UserError {
  return new UserError(`the checkpoint file ${file} is damaged: ${why}; use an earlier checkpoint`, {
    cause,
  });
}

function fingerprint(file: string): Fingerprint {
  const hash = createHash("sha256");
  const chunk = Buffer.allocUnsafe(1 << 20);
  const descriptor = fs.openSync(file, "r");
  try {
    let bytes = 0;
    for (let count = -1; count !== 0; bytes += count) {
      count = fs.readSync(descriptor, chunk);
      hash.update(chunk.subarray(0, count));
    }
    return { bytes, sha256: hash.digest("hex") };
  } finally {
    fs.closeSync(descriptor);
  }
}

/** JSON with the keys of every object sorted, so that the order in which a state was put together does not show. */
function stableJson(value: unknown): string {
  const sorted = (_key: string, node: unknown) =>
    typeof node === "object" && node !== null && !Array.isArray(node)
      ? Object.fromEntries(Object.entries(node).sort(([a], [b]) => (a < b ? -1 : 1)))
      : node;
  return `${JSON.stringify(value, sorted, 2)}\n`;
}
