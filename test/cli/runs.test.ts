/** `varidiff runs`: what is read from a run folder, and what is refused to be ranked. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest";
import { runsCommand } from "../../src/cli/runs.js";
import { createRun, lockRun, type Run } from "../../src/experiment/run-folder.js";

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-list-"));
let root: string;
beforeEach(() => {
  root = fs.mkdtempSync(path.join(scratch, "root-"));
});
afterEach(() => vi.restoreAllMocks());
afterAll(() => fs.rmSync(scratch, { recursive: true }));

interface Written {
  readonly data?: object;
  readonly metrics?: readonly object[];
  readonly evaluations?: readonly object[];
}

function makeRun(name: string, { data, metrics = [], evaluations = [] }: Written): Run {
  const run = createRun({ root, name });
  const config = { system: "vdm", data: { name: "fashion-mnist", ...data }, train: { steps: 100 } };
  fs.writeFileSync(run.paths.config, JSON.stringify(config));
  fs.writeFileSync(run.paths.metrics, metrics.map((record) => `${JSON.stringify(record)}\n`).join(""));
  fs.mkdirSync(run.paths.evaluation);
  evaluations.forEach((evaluation, i) => {
    fs.writeFileSync(path.join(run.paths.evaluation, `${i}.json`), JSON.stringify(evaluation));
  });
  return run;
}

function evaluation(mean: number, more: object = {}) {
  const bitsPerDim = { mean, standardError: 0.01 };
  return {
    metric: "bpd",
    bitsPerDim,
    images: 100,
    passes: 1,
    split: "test",
    ema: true,
    precision: "float32",
    step: 100,
    ...more,
  };
}

async function runs(...args: string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    vi.spyOn(process[name], "write").mockImplementation((chunk) => {
      said[name] += chunk;
      return true;
    });
  }
  try {
    await runsCommand().parseAsync([root, ...args], { from: "user" });
  } finally {
    vi.restoreAllMocks();
  }
  return said;
}

async function listed(...args: string[]) {
  return JSON.parse((await runs("--json", ...args)).stdout).runs;
}

test("step, parameters, bits/dim and evaluations are read from the run's files", async () => {
  const metrics = [{ parameters: 36_100_000 }, { step: 50, bitsPerDim: 3.4 }, { step: 60, lossScale: 1 }];
  const run = makeRun("a", { metrics, evaluations: [evaluation(3.3, { step: 50 }), evaluation(3.2)] });
  const [summary] = await listed();
  expect(summary).toMatchObject({
    name: "0001-a",
    dir: run.dir,
    system: "vdm",
    data: "fashion-mnist",
    step: 60,
    steps: 100,
    parameters: 36_100_000,
    trainBitsPerDim: 3.4,
  });
  expect(summary.evaluations.map((one: ReturnType<typeof evaluation>) => one.bitsPerDim.mean)).toEqual([
    3.2, 3.3,
  ]);
  const { stdout } = await runs();
  expect(stdout.split("\n")[0]?.split(/ {2,}/)).toEqual([
    "run",
    "system",
    "data",
    "step",
    "params",
    "train",
    "evaluated (bits/dim)",
    "images",
    "T",
    "status",
  ]);
  expect(stdout).toMatch(
    /0001-a +vdm +fashion-mnist +60\/100 +36\.1 M +3\.400 +3\.2000 ± 0\.0100 test @100 +100 +continuous +interrupted\n$/,
  );
});

test("a run is running, finished, interrupted, failed or unreadable", async () => {
  const lock = lockRun(makeRun("running", { metrics: [{ step: 100 }] }).dir);
  makeRun("finished", { metrics: [{ step: 100 }] });
  makeRun("interrupted", { metrics: [{ step: 99 }] });
  makeRun("failed", { metrics: [{ step: 100 }, { event: "failed", step: 100, message: "loss is NaN" }] });
  fs.writeFileSync(makeRun("unreadable", {}).paths.metrics, "{]\n{}\n");
  fs.mkdirSync(path.join(makeRun("checkpointed", {}).paths.checkpoints, "00000100"), { recursive: true });
  const statuses = (await listed()).map(({ status }: { status: string }) => status);
  expect(statuses).toEqual(["running", "finished", "interrupted", "failed", "unreadable", "finished"]);
  lock.release();
  expect((await runs()).stderr).toMatch(/^0005-unreadable: .*metrics\.jsonl.*line 1.*\n$/);
});

test("--rank sorts by the result of the newest step on test images", async () => {
  makeRun("worse", { evaluations: [evaluation(3.5), evaluation(1, { split: "train" })] });
  makeRun("none", {});
  const another = evaluation(9, { seed: 5 });
  makeRun("better", { evaluations: [another, evaluation(3.1, { seed: 0 }), evaluation(2, { step: 50 })] });
  const ranked = await listed("--rank");
  expect(ranked.map(({ name, rank }: { name: string; rank?: number }) => [name, rank])).toEqual([
    ["0003-better", 1],
    ["0001-worse", 2],
    ["0002-none", undefined],
  ]);
});

test("--rank ranks what was measured alike, the runs that were not stand apart with the reason", async () => {
  const exact = evaluation(3.3, { images: 10_000, steps: 0 });
  makeRun("chain", { evaluations: [evaluation(3.1, { images: 2000, steps: 500 })] });
  makeRun("both", { evaluations: [exact, evaluation(3, { images: 2000, steps: 500, step: 200 })] });
  makeRun("best", { evaluations: [{ ...exact, bitsPerDim: { mean: 3.2, standardError: 0.01 } }] });
  makeRun("also", { evaluations: [exact] });
  const said = await runs("--rank", "--json");
  const ranked = JSON.parse(said.stdout).runs as readonly Record<string, unknown>[];
  expect(ranked.map(({ name, rank, apart }) => [name, rank, apart])).toEqual([
    ["0003-best", 1, undefined],
    ["0002-both", 2, undefined],
    ["0004-also", 2, undefined],
    ["0001-chain", undefined, "was measured with images 2000 (others: 10000), steps 500 (others: 0)"],
  ]);
  expect(said.stderr).toBe(
    "0001-chain has no rank: it was measured with images 2000 (others: 10000), steps 500 (others: 0)\n",
  );
  // What is shown is what is ranked, though another result is of a newer step.
  expect((await runs("--rank")).stdout).toMatch(
    /^2 +0002-both .* 3\.3000 ± 0\.0100 test @100 +10000 +continuous /m,
  );
});

test.each([
  [
    "data",
    { name: "imagenet32" },
    { name: "imagenet32-old" },
    '"imagenet32, test" and "imagenet32-old, test"',
  ],
  ["size", { size: 32 }, { size: 64 }, '"fashion-mnist, test, size 32" and "fashion-mnist, test, size 64"'],
  [
    "dequantisation",
    { dequantisation: "none" },
    { dequantisation: "uniform" },
    '"fashion-mnist, test" and "fashion-mnist, test, dequantisation uniform"',
  ],
  [
    "augmentation",
    { augmentation: "flip" },
    {},
    '"fashion-mnist, test" and "fashion-mnist, test, augmentation flip"',
  ],
])("runs that differ in %s are not ranked", async (_what, one, other, groups) => {
  makeRun("a", { data: one, evaluations: [evaluation(3)] });
  makeRun("b", { data: other, evaluations: [evaluation(2)] });
  await expect(runs("--rank")).rejects.toThrow(
    `bits/dim do not compare across ${groups}; rank those on one data set, each kind by itself, with --data NAME`,
  );
  expect(await listed()).toHaveLength(2);
});

test("--data takes one data set, and ranks each kind by itself", async () => {
  makeRun("a", { evaluations: [evaluation(3)] });
  makeRun("b", { evaluations: [evaluation(2, { data: { name: "fashion-mnist", augmentation: "flip" } })] });
  makeRun("c", { data: { name: "mnist" }, evaluations: [evaluation(1)] });
  const ranked = await listed("--rank", "--data", "fashion-mnist");
  expect(ranked.map(({ name, rank, group }: Record<string, unknown>) => [name, rank, group])).toEqual([
    ["0001-a", 1, "fashion-mnist, test"],
    ["0002-b", 1, "fashion-mnist, test, augmentation flip"],
  ]);
  await expect(runs("--data", "fashion-mnits")).rejects.toThrow(
    'no run on data set "fashion-mnits": did you mean "fashion-mnist"?',
  );
});

test("a result that is no JSON is named", async () => {
  const { paths } = makeRun("torn", {});
  const file = path.join(paths.evaluation, "torn.json");
  fs.writeFileSync(file, '{"metric": "b');
  expect((await runs()).stderr).toBe(
    `0001-torn: ${file}: expected a JSON document: delete it and measure anew\n`,
  );
});

test("a folder without runs says how to start one; a folder that is not there is a mistake", async () => {
  expect((await runs()).stdout).toBe(`no runs in ${root}; start one: varidiff train CONFIG\n`);
  expect(await listed()).toEqual([]);
  fs.rmdirSync(root);
  await expect(runs()).rejects.toThrow(`there is no folder ${root}`);
  fs.writeFileSync(root, "");
  await expect(runs()).rejects.toThrow(`expected a folder of runs, got ${root}, a file`);
});
