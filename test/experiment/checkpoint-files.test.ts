/** Checkpoints: byte for byte reproducible, verified, retired in time, and safe from full disks and SIGKILL. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { UserError } from "../../src/errors.js";
import {
  listCheckpoints,
  newestWholeCheckpoint,
  openCheckpoint,
  writeCheckpoint,
} from "../../src/experiment/checkpoint-files.js";
import { createRun, type Run } from "../../src/experiment/run-folder.js";
import { readSafetensors, type StoredTensor } from "../../src/io/index.js";
import { transpileInto } from "./transpile.js";

let scratch: string;
let run: Run;
beforeAll(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-checkpoints-"));
});
beforeEach(() => {
  run = createRun({ root: scratch, name: "test" });
});
afterEach(() => vi.restoreAllMocks());
afterAll(() => fs.rmSync(scratch, { recursive: true }));

function floats(...values: number[]): StoredTensor {
  return { dtype: "F32", shape: [values.length], data: new Uint8Array(Float32Array.from(values).buffer) };
}

function write(step: number, keep = 2): void {
  const tensors = { weights: [["w", floats(step, 2)] as const], ema: [["w", floats(step / 2)] as const] };
  writeCheckpoint(run, { step, tensors, state: { step, rng: { data: [1, 2] } }, keep });
}

function latest(): string {
  return fs.readFileSync(path.join(run.paths.checkpoints, "latest"), "utf8");
}

test("what is written is read back, and latest names it", () => {
  write(0);
  write(100);
  const { checkpoint, warnings } = newestWholeCheckpoint(run);
  expect(warnings).toEqual([]);
  expect(checkpoint?.dir).toBe(path.join(run.paths.checkpoints, "00000100"));
  expect(checkpoint?.state).toEqual({ step: 100, rng: { data: [1, 2] } });
  expect(Object.keys(checkpoint?.files ?? {}).sort()).toEqual(["ema", "weights"]);
  const { tensors } = readSafetensors(checkpoint?.files.weights ?? "");
  expect(tensors.get("w")).toMatchObject({ dtype: "F32", shape: [2] });
  expect(Buffer.from(tensors.get("w")?.data ?? [])).toEqual(Buffer.from(floats(100, 2).data));
  expect(latest()).toBe("00000100\n");
  expect(openCheckpoint(run, 0).state).toEqual({ step: 0, rng: { data: [1, 2] } });
});

test("the newest `keep` and step 0 stay", () => {
  for (const step of [0, 10, 20, 30, 40]) write(step);
  expect(listCheckpoints(run)).toEqual([0, 30, 40]);
  write(50, 1);
  expect(listCheckpoints(run)).toEqual([0, 50]);
  expect(fs.readdirSync(run.paths.checkpoints).sort()).toEqual(["00000000", "00000050", "latest"]);
});

test("equal states give equal bytes, in whatever order they were put together", () => {
  const other = createRun({ root: scratch, name: "other" });
  const tensors = () => ({ weights: [["w", floats(1)] as const] });
  writeCheckpoint(run, { step: 3, tensors: tensors(), state: { a: 1, b: { c: 2, d: 3 } }, keep: 1 });
  writeCheckpoint(other, { step: 3, tensors: tensors(), state: { b: { d: 3, c: 2 }, a: 1 }, keep: 1 });
  for (const name of ["00000003/weights.safetensors", "00000003/state.json", "latest"]) {
    const bytes = (of: Run) => fs.readFileSync(path.join(of.paths.checkpoints, name));
    expect(bytes(other)).toEqual(bytes(run));
  }
});

test.each<[string, string, (file: string) => void, RegExp]>([
  [
    "a flipped bit",
    "weights.safetensors",
    flipLastBit,
    /weights\.safetensors is damaged: its SHA-256 differs/,
  ],
  [
    "a cut",
    "ema.safetensors",
    (file) => fs.truncateSync(file, 9),
    /ema\.safetensors is damaged: expected \d+ bytes, found 9/,
  ],
  ["a loss", "ema.safetensors", (file) => fs.rmSync(file), /ema\.safetensors is damaged: it is missing/],
  [
    "a broken state",
    "state.json",
    (file) => fs.truncateSync(file, 9),
    /state\.json is damaged: it is not JSON/,
  ],
  ["no state", "state.json", (file) => fs.rmSync(file), /state\.json is damaged: it cannot be read/],
  ["a changed digit in the state", "state.json", changeState, /state\.json is damaged: its SHA-256 differs/],
  [
    "another's state",
    "state.json",
    (file) => fs.writeFileSync(file, '{"format":1,"step":7}'),
    /found format 1 and step 7/,
  ],
])("%s in the newest: it is named, and the one before is used", (_what, name, damage, expected) => {
  write(10);
  write(20);
  damage(path.join(run.paths.checkpoints, "00000020", name));
  const { checkpoint, warnings } = newestWholeCheckpoint(run);
  expect(checkpoint?.step).toBe(10);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toMatch(expected);
  expect(() => openCheckpoint(run, 20)).toThrow(expected);
});

function flipLastBit(file: string): void {
  const bytes = fs.readFileSync(file);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  fs.writeFileSync(file, bytes);
}

function changeState(file: string): void {
  fs.writeFileSync(file, fs.readFileSync(file, "utf8").replace('"step": 20\n  },', '"step": 21\n  },'));
}

test("after a fall back, the next checkpoint never gives way to the damaged later one, which is replaced in time", () => {
  for (const step of [10, 20]) write(step, 1);
  write(30, 2);
  flipLastBit(path.join(run.paths.checkpoints, "00000030", "ema.safetensors"));
  write(25, 1);
  expect(newestWholeCheckpoint(run).checkpoint?.step).toBe(25);
  write(30, 1);
  expect(newestWholeCheckpoint(run)).toMatchObject({ checkpoint: { step: 30 }, warnings: [] });
});

test("no checkpoint, none whole, and one that is not there", () => {
  expect(newestWholeCheckpoint(run)).toEqual({ checkpoint: undefined, warnings: [] });
  write(0);
  expect(() => openCheckpoint(run, 5)).toThrow(
    new UserError(`${run.dir} has no checkpoint of step 5; there are: 0`),
  );
  fs.rmSync(path.join(run.paths.checkpoints, "00000000", "state.json"));
  const { checkpoint, warnings } = newestWholeCheckpoint(run);
  expect(checkpoint).toBeUndefined();
  expect(warnings).toHaveLength(1);
});

test("a disk that is full at any write loses nothing, and is reported in one line", () => {
  const real = fs.writeSync;
  let failures = 0;
  for (let failing = 1; ; failing++) {
    vi.restoreAllMocks();
    run = createRun({ root: scratch, name: "full" });
    write(0);
    write(10);
    let call = 0;
    vi.spyOn(fs, "writeSync").mockImplementation(((...args: Parameters<typeof fs.writeSync>) => {
      call++;
      if (call === failing)
        throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
      return real(...args);
    }) as typeof fs.writeSync);
    let caught: unknown;
    try {
      write(20, 1);
    } catch (error) {
      caught = error;
    }
    if (caught === undefined) break;
    failures++;
    vi.restoreAllMocks();
    expect(caught).toBeInstanceOf(UserError);
    expect(String(caught)).toMatch(/^UserError: cannot write .*ENOSPC.*$/);
    expect(openCheckpoint(run, 10).step).toBe(10);
    expect(openCheckpoint(run, 0).step).toBe(0);
    expect(newestWholeCheckpoint(run).warnings).toEqual([]);
    expect(listCheckpoints(run)).toContain(Number(latest()));
    expect(fs.readdirSync(run.paths.checkpoints).filter((name) => name.startsWith(".tmp-"))).toEqual([]);
    write(20, 1);
    expect(newestWholeCheckpoint(run).checkpoint?.step).toBe(20);
  }
  // Two safetensors files, state.json and latest are four writes at the least.
  expect(failures).toBeGreaterThanOrEqual(4);
});

test("SIGKILL at any moment leaves a newest checkpoint that is whole", async () => {
  const compiled = transpileInto(path.join(scratch, "package"), "src/experiment/checkpoint-files.ts");
  const code = `
    import { writeCheckpoint } from ${JSON.stringify(`file://${compiled}`)};
    const run = ${JSON.stringify(run)};
    const data = new Uint8Array(200_000);
    for (let step = Number(process.argv[1]); ; step++) {
      const tensors = { weights: [["w", { dtype: "U8", shape: [data.length], data }]] };
      writeCheckpoint(run, { step, tensors, state: { step }, keep: 1 });
      if (step % 5 === 0) process.stdout.write(step + "\\n");
    }`;
  let next = 1;
  for (const delay of [0, 3, 7, 12, 21]) {
    const child = spawn(process.execPath, ["--input-type=module", "-e", code, String(next)]);
    const [reported] = (await once(child.stdout, "data")) as [Buffer];
    await wait(delay);
    child.kill("SIGKILL");
    await once(child, "exit");
    const { checkpoint, warnings } = newestWholeCheckpoint(run);
    expect(warnings).toEqual([]);
    expect(checkpoint?.step).toBeGreaterThanOrEqual(Number(reported.toString().split("\n")[0]));
    expect(checkpoint?.state).toEqual({ step: checkpoint?.step });
    next = (checkpoint?.step ?? 0) + 1;
  }
});
