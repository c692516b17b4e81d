/** Run folders: numbered, never shared, and written by one trainer at a time. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { UserError } from "../errors.js";
import { fileError } from "../io/index.js";
import { didYouMean } from "../nearest.js";

/** Where everything of one run lies; folders are made by whoever first writes into them. */
export interface RunPaths {
  /** The resolved config, YAML. */
  readonly config: string;
  /** JSON Lines; the truth about the training. */
  readonly metrics: string;
  readonly checkpoints: string;
  /** What the start of samples was fitted to be, safetensors; only of systems that have such a start. */
  readonly start: string;
  readonly samples: string;
  readonly evaluation: string;
  readonly figures: string;
  /** TensorBoard event files. */
  readonly events: string;
}

export interface Run {
  readonly dir: string;
  /** The folder's name, `0007-vdm-fashion-mnist`. */
  readonly name: string;
  readonly paths: RunPaths;
  /** Of a new run, the topmost folder that was made for it; absent where its folder was there already. */
  readonly made?: string;
}

/** A run that was there already, with its config as text. */
export interface OpenedRun extends Run {
  readonly configText: string;
}

export type NewRun = { readonly name: string; readonly root?: string } | { readonly out: string };

/**
 * Makes the folder of a new run: `<root>/<number>-<name>`, one number above the highest there, or `out` itself.
 * @throws UserError for an `out` that is not empty, saying how to go on with a run that lies there
 */
export function createRun(request: NewRun): Run {
  if ("out" in request) return createAt(request.out);
  const root = request.root ?? "runs";
  return explained(root, () => {
    const above = fs.mkdirSync(root, { recursive: true });
    const run = runAt(path.join(root, createNumbered(root, folderName(request.name))));
    return { ...run, made: above ?? run.dir };
  });
}

/** Takes a new run back that never began: what lies in its folder, and the folders that were made for it and are empty. */
export function withdrawRun({ dir, made }: Run): void {
  for (const name of fs.readdirSync(dir)) fs.rmSync(path.join(dir, name), { recursive: true, force: true });
  if (made === undefined) return;
  const top = path.resolve(made);
  for (let folder = path.resolve(dir); folder.startsWith(top); folder = path.dirname(folder)) {
    if (fs.readdirSync(folder).length > 0) return;
    fs.rmdirSync(folder);
  }
}

/**
 * The run in `dir`.
 * @throws UserError for a folder that is no run, with the nearest one that is
 */
export function openRun(dir: string): OpenedRun {
  const run = runAt(dir);
  try {
    return { ...run, configText: fs.readFileSync(run.paths.config, "utf8") };
  } catch (error) {
    const why = fs.existsSync(dir) ? "has no config.yaml, so it is no run" : "does not exist";
    const others = listRuns(path.dirname(path.resolve(dir))).map(({ name }) => name);
    const near = didYouMean(run.name, others);
    const advice = near.startsWith(":")
      ? near
      : `: give the folder of a run ("varidiff runs" lists them)${near}`;
    throw new UserError(`${dir} ${why}${advice}`, { cause: error });
  }
}

/** The runs in `root`, by name; `root` itself where it is one. */
export function listRuns(root: string): readonly Run[] {
  if (isRun(root)) return [runAt(root)];
  if (!fs.existsSync(root) || !fs.statSync(root).isDirectory()) return [];
  return fs
    .readdirSync(root)
    .sort((a, b) => a.localeCompare(b, "en", { numeric: true }))
    .map((name) => path.join(root, name))
    .filter(isRun)
    .map(runAt);
}

function isRun(dir: string): boolean {
  return fs.existsSync(path.join(dir, "config.yaml"));
}

function runAt(dir: string): Run {
  const within = (name: string) => path.join(dir, name);
  return {
    dir,
    name: path.basename(path.resolve(dir)),
    paths: {
      config: within("config.yaml"),
      metrics: within("metrics.jsonl"),
      checkpoints: within("checkpoints"),
      start: within("start.safetensors"),
      samples: within("samples"),
      evaluation: within("evaluation"),
      figures: within("figures"),
      events: within("events"),
    },
  };
}

function createAt(out: string): Run {
  return explained(out, () => {
    const made = fs.mkdirSync(out, { recursive: true });
    if (fs.readdirSync(out).length === 0) return { ...runAt(out), ...(made === undefined ? {} : { made }) };
    const advice = isRun(out)
      ? `already holds a run; go on with it by "varidiff train --resume ${out}", or choose another --out`
      : "is not empty; choose another --out";
    throw new UserError(`${out} ${advice}`);
  });
}

/**
 * Claims a number by making the folder `0007`, which only one process can, and renames it once no `0007-...` is seen:
 * whoever had the number before has renamed by then, so that no two runs share a number whatever their names.
 */
function createNumbered(root: string, name: string): string {
  for (let number = highestNumber(root) + 1; ; number++) {
    const claim = String(number).padStart(4, "0");
    try {
      fs.mkdirSync(path.join(root, claim));
    } catch (error) {
      if (codeOf(error) === "EEXIST") continue;
      throw error;
    }
    if (fs.readdirSync(root).some((other) => other.startsWith(`${claim}-`))) {
      fs.rmdirSync(path.join(root, claim));
      continue;
    }
    fs.renameSync(path.join(root, claim), path.join(root, `${claim}-${name}`));
    return `${claim}-${name}`;
  }
}

function highestNumber(root: string): number {
  const numbers = fs.readdirSync(root).map((name) => Number(/^(\d{4,})(?:-|$)/.exec(name)?.[1] ?? 0));
  return Math.max(0, ...numbers);
}

function folderName(name: string): string {
  return (
    name
      .toLowerCase()
      .replace(/[^a-z0-9._]+/g, "-")
      .replace(/^-+|-+$/g, "") || "run"
  );
}

function explained<R>(dir: string, make: () => R): R {
  try {
    return make();
  } catch (error) {
    if (codeOf(error) === "EEXIST") throw new UserError(`${dir} is a file; choose another place for the run`);
    throw fileError("write", dir, error);
  }
}

/** Held by the one process that writes a run. */
export interface RunLock {
  release(): void;
}

/**
 * Takes the run for this process. A lock is an empty file whose name says who holds it, `.lock-<pid>-<start>-<host>`:
 * each process makes its own and then looks for others, so that of two at the same time at most one goes on. Locks of
 * processes that are gone, or whose number another process has now (its start time differs), are removed.
 * @throws UserError naming the process that writes the run now
 */
export function lockRun(dir: string): RunLock {
  const name = `.lock-${process.pid}-${startTime(process.pid)}-${encodeURIComponent(os.hostname())}`;
  const file = path.join(dir, name);
  const busy = (holder: string) =>
    new UserError(`${dir} is being written by ${holder}; wait until that has ended, or stop it`);
  try {
    fs.closeSync(fs.openSync(file, "wx"));
  } catch (error) {
    if (codeOf(error) === "EEXIST") throw busy("this process");
    throw fileError("write", file, error);
  }
  const release = () => fs.rmSync(file, { force: true });
  for (const lock of locksIn(dir)) {
    if (lock.file === file) continue;
    if (lock.holder !== undefined) {
      release();
      throw busy(lock.holder);
    }
    fs.rmSync(lock.file, { force: true });
  }
  return { release };
}

/** Whether a living process holds the run's lock. */
export function isLocked(dir: string): boolean {
  return locksIn(dir).some(({ holder }) => holder !== undefined);
}

interface Lock {
  readonly file: string;
  /** Who holds it, in words; undefined for a process that is gone. */
  readonly holder: string | undefined;
}

function locksIn(dir: string): readonly Lock[] {
  return fs.readdirSync(dir).flatMap((name) => {
    const [, pid, start, encodedHost] = /^\.lock-(\d+)-(\d+)-(.*)$/.exec(name) ?? [];
    if (pid === undefined || encodedHost === undefined) return [];
    const file = path.join(dir, name);
    const host = decodeURIComponent(encodedHost);
    if (host !== os.hostname()) {
      return [{ file, holder: `process ${pid} on ${host} (if that is gone, delete ${file})` }];
    }
    return [{ file, holder: startTime(Number(pid)) === start ? `process ${pid}` : undefined }];
  });
}

/** When a process began, in clock ticks since boot (`/proc/<pid>/stat`, field 22); undefined for one that is gone. */
function startTime(pid: number): string | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field, a name in parentheses, may hold spaces: fields are counted after its last ")".
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state] = fields;
    return state === "Z" || state === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
