/** Comparing runs over seeds: which belong together, what they are called, which results count, what is refused. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";
import { writeCheckpoint } from "../../src/experiment/checkpoint-files.js";
import { type ComparisonRequest, compareRuns } from "../../src/experiment/comparison.js";
import { openRun } from "../../src/experiment/run-folder.js";

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-compare-"));
let root: string;
beforeEach(() => {
  root = fs.mkdtempSync(path.join(scratch, "root-"));
});
afterAll(() => fs.rmSync(scratch, { recursive: true }));

interface Written {
  readonly seed?: number;
  readonly config?: object;
  readonly train?: object;
  readonly records?: readonly object[];
  readonly results?: readonly object[];
}

function makeRun(
  name: string,
  { seed = 1, config = {}, train = {}, records = [], results = [] }: Written,
): string {
  const dir = path.join(root, name);
  fs.mkdirSync(path.join(dir, "evaluation"), { recursive: true });
  const whole = { system: "vdm", ...config, train: { seed, ...train } };
  fs.writeFileSync(path.join(dir, "config.yaml"), JSON.stringify(whole));
  const start = { event: "start", step: 0, seconds: 0, data: { fingerprint: "trained-on" } };
  const lines = [start, ...records].map((record) => `${JSON.stringify(record)}\n`);
  fs.writeFileSync(path.join(dir, "metrics.jsonl"), lines.join(""));
  results.forEach((result, i) => {
    fs.writeFileSync(path.join(dir, "evaluation", `${i}.json`), JSON.stringify(result));
  });
  return dir;
}

function result(mean: number, more: object = {}) {
  return {
    ...{ metric: "bpd", bitsPerDim: { mean, standardError: 0.01 }, split: "test", images: 100, passes: 1 },
    ...{ step: 100, steps: 0, ema: true, precision: "float32" },
    data: { name: "fashion-mnist", fingerprint: "0123" },
    ...more,
  };
}

/** `name-seed1`, `name-seed2`, ... with these values. */
function makeSeeds(name: string, values: readonly number[], more: Written = {}): string[] {
  return values.map((mean, i) =>
    makeRun(`${name}-seed${i + 1}`, { ...more, seed: i + 1, results: [result(mean)] }),
  );
}

const compare = (dirs: readonly string[], request: Partial<ComparisonRequest> = {}) =>
  compareRuns(dirs, { metric: "bpd", alternative: "less", ...request });

const velocity = { config: { model: { prediction: "v" } } };

test("a group's mean, standard error over seeds and range; its test against the first", () => {
  const vdm = makeSeeds("0001-vdm", [3, 3.2, 3.4]);
  const vdmv = makeSeeds("0004-vdmv", [2.8, 3], velocity);
  const { groups, pairs, baseline } = compare([...vdm, ...vdmv]);
  expect(groups.map(({ name, runs }) => [name, runs.length])).toEqual([
    ["vdm", 3],
    ["vdmv", 2],
  ]);
  const [first, second] = groups;
  // {-0.2, 0, 0.2}: variance 0.04, standard error 0.2 / sqrt 3; {-0.1, 0.1}: 0.1 sqrt 2 / sqrt 2.
  expect(first?.bitsPerDim.mean).toBeCloseTo(3.2, 12);
  expect(first?.bitsPerDim.standardError).toBeCloseTo(0.2 / Math.sqrt(3), 12);
  expect(first).toMatchObject({ minimum: 3, maximum: 3.4 });
  expect(first?.withinRun).toBeCloseTo(0.01, 12);
  expect(second?.bitsPerDim.standardError).toBeCloseTo(0.1, 12);
  expect({ baseline, pairs: pairs.length }).toEqual({ baseline: "vdm", pairs: 1 });
  // t = -0.3 / sqrt(0.04 / 3 + 0.01)
  expect(pairs[0]?.group).toBe("vdmv");
  expect(pairs[0]?.difference).toBeCloseTo(-0.3, 12);
  expect(pairs[0]?.test?.t).toBeCloseTo(-0.3 / Math.sqrt(0.04 / 3 + 0.01), 10);

  const other = compare([...vdm, ...vdmv], { baseline: "vdmv", alternative: "greater" });
  expect(other).toMatchObject({ baseline: "vdmv", pairs: [{ group: "vdm" }] });
  expect(other.pairs[0]?.test?.p).toBeCloseTo(pairs[0]?.test?.p ?? Number.NaN, 12);
});

test("one seed has a mean and no test", () => {
  const dirs = [...makeSeeds("vdm", [3, 3.2]), ...makeSeeds("vdmv", [2.9], velocity)];
  const { groups, pairs } = compare(dirs);
  expect(groups[1]?.bitsPerDim).toEqual({ mean: 2.9, standardError: Number.NaN });
  expect(pairs[0]).toMatchObject({ test: undefined, problem: "a test needs two seeds, vdmv has one" });
  expect(pairs[0]?.difference).toBeCloseTo(-0.2, 12);
});

test("seed, machine, logging and measuring do not tell runs apart; steps, precision and data do", () => {
  const one = makeRun("a", { results: [result(3)] });
  const same = makeRun("b", {
    seed: 2,
    config: {
      threads: 1,
      device: "cpu",
      evaluate: { images: 5 },
      sample: { steps: 9 },
      data: { path: "/elsewhere" },
    },
    train: { logEvery: 7, checkpointEvery: 9 },
    results: [result(3.1)],
  });
  expect(compare([one, same]).groups).toHaveLength(1);
  const others: readonly Written[] = [
    { train: { steps: 77 } },
    { config: { precision: "bfloat16" } },
    { config: { optimiser: { learningRate: 0.5 } } },
    { records: [{ event: "resume", step: 5, data: { fingerprint: "other" } }] },
  ];
  for (const [i, written] of others.entries()) {
    const other = makeRun(`other${i}`, { ...written, seed: 2, results: [result(3)] });
    expect(compare([one, other]).groups, JSON.stringify(written)).toHaveLength(2);
  }
});

test("groups are named by their folders; by system and keys where that is not clear", () => {
  const names = (dirs: readonly string[]) => compare(dirs).groups.map(({ name }) => name);
  const at = (name: string, seed: number, more: Written = {}) =>
    makeRun(name, { ...more, seed, results: [result(3)] });
  const [a, b] = [at("0001-small-vdm", 1), at("0012-small-vdm.seed-2", 2)];
  const c = at("small-vdm_s3", 3);
  expect(names([a, b, c, at("0013-vdmv", 1, velocity)])).toEqual(["small-vdm", "vdmv"]);
  // One group under two names, then two groups under one.
  expect(names([a, at("0014-other", 4), at("0015-v", 1, velocity)])).toEqual([
    "vdm model.prediction=eps",
    "vdm model.prediction=v",
  ]);
  expect(names([a, at("0016-small-vdm", 5, velocity)])).toEqual([
    "vdm model.prediction=eps",
    "vdm model.prediction=v",
  ]);
});

test("of each run that result counts which all have, of the newest step, from the most passes", () => {
  const one = makeRun("a", {
    results: [
      result(1, { split: "train" }),
      result(2, { step: 50 }),
      result(3),
      result(4, { passes: 4 }),
      result(5, { images: 1000 }),
      result(6, { metric: "nll" }),
    ],
  });
  const two = makeRun("b", { seed: 2, results: [result(7, { passes: 2 }), result(8, { ema: false })] });
  const { groups, setting } = compare([one, two]);
  expect(groups[0]?.runs.map(({ bitsPerDim }) => bitsPerDim.mean)).toEqual([4, 7]);
  expect(setting).toMatchObject({ split: "test", images: 100, ema: true, steps: 0, data: "fashion-mnist" });
  // The larger sample where both have it; what is asked for before that.
  fs.writeFileSync(path.join(two, "evaluation/x.json"), JSON.stringify(result(9, { images: 1000 })));
  const means = (wanted = {}) => compare([one, two], { wanted }).groups[0]?.bitsPerDim.mean;
  expect(means()).toBe((5 + 9) / 2);
  expect(means({ images: 100 })).toBe((4 + 7) / 2);
});

test("terms, parameters and the training's time up to the step that was measured", () => {
  const records = [
    { event: "start", step: 0, seconds: 0, parameters: 1234 },
    { event: "train", step: 100, seconds: 60 },
    { event: "train", step: 200, seconds: 130 },
  ];
  const terms = (mean: number) => ({ terms: { diffusion: { mean }, prior: { mean: 0.5 } } });
  const dirs = [3, 5].map((mean, i) =>
    makeRun(`a-seed${i}`, { seed: i, records, results: [result(mean, terms(mean - 0.5))] }),
  );
  const [group] = compare(dirs).groups;
  expect(group?.runs[0]).toMatchObject({ parameters: 1234, seconds: 60, step: 100 });
  // {2.5, 4.5}: mean 3.5, standard deviation sqrt 2, standard error 1.
  expect(group?.terms.diffusion?.mean).toBeCloseTo(3.5, 12);
  expect(group?.terms.diffusion?.standardError).toBeCloseTo(1, 12);
  expect(group?.terms.prior).toEqual({ mean: 0.5, standardError: 0 });
});

test("a missing result is one line with the command that makes it", () => {
  const one = makeRun("a", { results: [result(3, { images: 10000, steps: 250 })] });
  const two = makeRun("b b", { seed: 2 });
  const command = "--split test --images 10000 --steps 250 --set precision=float32";
  expect(() => compare([one, two])).toThrow(
    `expected results of bpd that compare in every run, but ${two} has none; run: varidiff evaluate '${two}' ${command}`,
  );
  expect(() => compare([one, two], { metric: "nll", wanted: { split: "train", ema: false } })).toThrow(
    /there are none; run: varidiff evaluate .*\/a --metrics nll --split train --weights raw; varidiff .*\/b b'/,
  );
});

test.each([
  [{ split: "validation" }, "split validation (others: test)", "--split test"],
  [{ images: 50 }, "images 50 (others: 100)", "--images 100"],
  [{ steps: 1000 }, "steps 1000 (others: 0)", "--steps 0"],
  [{ ema: false }, "ema false (others: true)", "--images 100 --steps 0 --set"],
  [{ precision: "bfloat16" }, "precision bfloat16 (others: float32)", "--set precision=float32"],
  [{ metric: "nll", importance: 5 }, "importance 5 (others: 1)", "--metrics nll .*--importance 1"],
])("results that differ in %j do not compare", (more, said, flag) => {
  const metric = "metric" in more ? more.metric : "bpd";
  const usual = metric === "nll" ? { metric, importance: 1 } : {};
  const dirs = [1, 2].map((seed) => makeRun(`a-seed${seed}`, { seed, results: [result(3, usual)] }));
  const other = makeRun("b", { seed: 3, results: [result(3, more)] });
  const attempt = () => compare([...dirs, other], { metric });
  expect(attempt).toThrow(`${other} was measured with ${said}; run: varidiff evaluate ${other} `);
  expect(attempt).toThrow(new RegExp(`${flag}[^;]*$`));
});

test("results on different images do not compare, whatever is measured anew; a name alone is nothing", () => {
  const one = makeRun("a", { results: [result(3)] });
  const two = makeRun("b", {
    seed: 2,
    results: [result(3, { data: { name: "mnist", fingerprint: "4567" } })],
  });
  expect(() => compare([one, two])).toThrow(
    /same images, got fashion-mnist test \(fingerprint 0123\) and, in .*b, mnist test \(fingerprint 4567\)/,
  );
  const three = makeRun("c", {
    seed: 3,
    results: [result(3, { data: { name: "mine", fingerprint: "0123" } })],
  });
  expect(compare([one, three]).groups).toHaveLength(1);
});

test("runs whose kind has no such result are left out, with the reason, where others remain", () => {
  const withState = (name: string, config: object) => {
    const dir = makeRun(name, { config });
    writeCheckpoint(openRun(dir), { step: 0, tensors: {}, state: { shape: [1, 28, 28] }, keep: 1 });
    return dir;
  };
  const one = makeRun("a", { results: [result(3)] });
  const classifier = withState("lenet", { system: "classifier" });
  const degraded = withState("vcd", { system: "vcd" });
  const { groups, leftOut } = compare([classifier, one, degraded]);
  expect(groups.map(({ runs }) => runs.map(({ dir }) => dir))).toEqual([[one]]);
  expect(leftOut.map(({ run }) => run)).toEqual([classifier, degraded]);
  expect(leftOut[0]?.why).toBe("classifier is no diffusion model");
  expect(leftOut[1]?.why).toMatch(/^vcd has no bound: /);
  expect(() => compare([classifier])).toThrow(/can have results of bpd, got .*lenet \(classifier is no/);
  // One that has none yet is to be measured.
  expect(() => compare([one, withState("b", {})])).toThrow(/b has none; run: varidiff evaluate/);
});

test("the same seed twice, an unknown baseline, a torn file and a folder that is no run are one line each", () => {
  const one = makeRun("a", { results: [result(3)] });
  const again = makeRun("a-again", { results: [result(3)] });
  expect(() => compare([one, again])).toThrow(`got ${one} and ${again}, both of seed 1: leave one out`);
  expect(() => compare([one, one])).toThrow(/both of seed 1/);
  const other = makeRun("vdmv", { ...velocity, results: [result(3)] });
  expect(() => compare([one, other], { baseline: "vdm" })).toThrow('got "vdm": did you mean "vdmv"?');
  expect(() => compare([one, path.join(root, "nowhere")])).toThrow(/nowhere does not exist/);
  fs.writeFileSync(path.join(one, "evaluation/torn.json"), '{"metric": "b');
  expect(() => compare([one, other])).toThrow(/torn\.json: expected a JSON document/);
});

test("of alike results the usual one counts: by seed, batch size and schedule, and by the run's precision", () => {
  const config = { evaluate: { batchSize: 16 } };
  const odd = [
    result(9, { batchSize: 16, seed: 5 }),
    result(9, { batchSize: 2, seed: 0, passes: 3 }),
    result(9, { batchSize: 16, seed: 0, schedule: "mean" }),
    result(7, { precision: "bfloat16", batchSize: 16, seed: 0 }),
  ];
  const usual = result(3, { batchSize: 16, seed: 0 });
  const means = (...dirs: string[]) =>
    compare(dirs).groups.flatMap(({ runs }) => runs.map((run) => run.bitsPerDim.mean));
  const asked = { config: { ...config, precision: "float32" }, results: [...odd, usual] };
  const [one, two] = [makeRun("a", asked), makeRun("b", { ...asked, seed: 2 })];
  expect(means(one, two)).toEqual([3, 3]);
  // What all have comes before what is usual.
  const other = makeRun("c", { ...asked, seed: 3, results: odd.slice(-1) });
  expect(means(one, two, other)).toEqual([7, 7, 7]);
});
