/** Run folders: numbers that are never shared, locks, and what is said about folders that cannot be used. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { UserError } from "../../src/errors.js";
import {
  createRun,
  isLocked,
  listRuns,
  lockRun,
  openRun,
  withdrawRun,
} from "../../src/experiment/run-folder.js";
import { transpileInto } from "./transpile.js";

let scratch: string;
let root: string;
let compiled: string;
beforeAll(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-runs-"));
  compiled = transpileInto(path.join(scratch, "package"), "src/experiment/run-folder.ts");
});
beforeEach(() => {
  root = fs.mkdtempSync(path.join(scratch, "root-"));
});
afterEach(() => vi.restoreAllMocks());
afterAll(() => fs.rmSync(scratch, { recursive: true }));

/** A process that imports the run-folder module as `runs` and runs `script`. */
function child(script: string) {
  const code = `import * as runs from ${JSON.stringify(`file://${compiled}`)};\n${script}`;
  return spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: ["pipe", "pipe", "inherit"] });
}

test("runs are numbered from the highest there, and named after the config", () => {
  expect(createRun({ root, name: "VDM on Fashion/MNIST" }).name).toBe("0001-vdm-on-fashion-mnist");
  fs.mkdirSync(path.join(root, "0041-other"));
  fs.mkdirSync(path.join(root, "notes"));
  const run = createRun({ root, name: "a" });
  expect(run.dir).toBe(path.join(root, "0042-a"));
  expect(run.paths.metrics).toBe(path.join(root, "0042-a", "metrics.jsonl"));
  expect(fs.readdirSync(run.dir)).toEqual([]);
});

test("processes that start together never share a number", async () => {
  const script = `for (let i = 0; i < 10; i++) runs.createRun({ root: ${JSON.stringify(root)}, name: process.pid + "-" + i });`;
  const codes = await Promise.all(
    [child(script), child(script), child(script)].map((one) => once(one, "exit")),
  );
  expect(codes.map(([code]) => code)).toEqual([0, 0, 0]);
  const numbers = fs.readdirSync(root).map((name) => name.slice(0, 4));
  expect(numbers).toHaveLength(30);
  expect(new Set(numbers).size).toBe(30);
});

test("a number that another process took and named after we had looked is passed over", () => {
  fs.mkdirSync(path.join(root, "0001-theirs"));
  vi.spyOn(fs, "readdirSync").mockReturnValueOnce([]);
  expect(createRun({ root, name: "ours" }).name).toBe("0002-ours");
  expect(fs.readdirSync(root)).toEqual(["0001-theirs", "0002-ours"]);
});

test("--out is the run folder itself, and must be empty", () => {
  const out = path.join(root, "deep", "mine");
  expect(createRun({ out }).dir).toBe(out);
  expect(createRun({ out }).name).toBe("mine");
  fs.writeFileSync(path.join(out, "notes.txt"), "");
  expect(() => createRun({ out })).toThrow(new UserError(`${out} is not empty; choose another --out`));
  fs.writeFileSync(path.join(out, "config.yaml"), "system: vdm\n");
  expect(() => createRun({ out })).toThrow(
    new UserError(
      `${out} already holds a run; go on with it by "varidiff train --resume ${out}", or choose another --out`,
    ),
  );
  const file = path.join(out, "notes.txt");
  expect(() => createRun({ out: file })).toThrow(
    new UserError(`${file} is a file; choose another place for the run`),
  );
});

test("a run that never began takes back what was made for it, and no more", () => {
  const deep = createRun({ out: path.join(root, "a", "b", "c") });
  fs.writeFileSync(deep.paths.config, "system: vdm\n");
  withdrawRun(deep);
  expect(fs.readdirSync(root)).toEqual([]);

  const own = path.join(root, "own");
  fs.mkdirSync(own);
  withdrawRun(createRun({ out: own }));
  withdrawRun(createRun({ out: path.join(own, "x", "y") }));
  expect(fs.readdirSync(root)).toEqual(["own"]);
  expect(fs.readdirSync(own)).toEqual([]);

  const runs = path.join(root, "runs");
  const [first, second] = [createRun({ root: runs, name: "a" }), createRun({ root: runs, name: "b" })];
  withdrawRun(first); // made the root, which another run is in now
  expect(fs.readdirSync(runs)).toEqual(["0002-b"]);
  withdrawRun(second);
  expect(fs.readdirSync(runs)).toEqual([]);
});

test("opening reads the config; a folder that is no run names the nearest one", () => {
  const run = createRun({ root, name: "vdm-mnist" });
  fs.writeFileSync(run.paths.config, "system: vdm\n");
  expect(openRun(run.dir).configText).toBe("system: vdm\n");
  const wrong = path.join(root, "0001-vdm-mnits");
  expect(() => openRun(wrong)).toThrow(
    new UserError(`${wrong} does not exist: did you mean "0001-vdm-mnist"?`),
  );
  fs.mkdirSync(path.join(root, "0002-empty"));
  expect(() => openRun(path.join(root, "0002-empty"))).toThrow(/has no config\.yaml, so it is no run/);
  const lost = path.join(root, "other", "place");
  expect(() => openRun(lost)).toThrow(
    new UserError(`${lost} does not exist: give the folder of a run ("varidiff runs" lists them)`),
  );
  expect(listRuns(root).map(({ name }) => name)).toEqual(["0001-vdm-mnist"]);
  expect(listRuns(run.dir).map(({ dir }) => dir)).toEqual([run.dir]);
  expect(listRuns(path.join(root, "nowhere"))).toEqual([]);
});

test("a run is locked once, for this process and for another, and free again when released", async () => {
  const { dir } = createRun({ root, name: "a" });
  const lock = lockRun(dir);
  expect(() => lockRun(dir)).toThrow(/is being written by this process; wait until that has ended/);
  lock.release();
  expect(isLocked(dir)).toBe(false);

  const other = child(
    `runs.lockRun(${JSON.stringify(dir)}); process.stdout.write("locked"); setInterval(() => {}, 1000);`,
  );
  await once(other.stdout, "data");
  expect(() => lockRun(dir)).toThrow(
    new UserError(`${dir} is being written by process ${other.pid}; wait until that has ended, or stop it`),
  );
  expect(isLocked(dir)).toBe(true);

  other.kill("SIGKILL");
  await once(other, "exit");
  expect(isLocked(dir)).toBe(false);
  lockRun(dir).release();
  expect(fs.readdirSync(dir)).toEqual([]);
});

test("a lock whose process number another process has now is taken over; another machine's is not", () => {
  const { dir } = createRun({ root, name: "a" });
  const host = encodeURIComponent(os.hostname());
  // Process 1 lives, and began before clock tick 4,000,000,000 after boot (462 days at 100 ticks a second).
  fs.writeFileSync(path.join(dir, `.lock-1-4000000000-${host}`), "");
  lockRun(dir).release();
  expect(fs.readdirSync(dir)).toEqual([]);

  fs.writeFileSync(path.join(dir, ".lock-1-4000000000-elsewhere"), "");
  expect(() => lockRun(dir)).toThrow(
    /is being written by process 1 on elsewhere \(if that is gone, delete .*elsewhere\)/,
  );
  expect(fs.readdirSync(dir)).toEqual([".lock-1-4000000000-elsewhere"]);
});
