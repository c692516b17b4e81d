/** Configs: reading, `extends`, `--set`, validation, and the one-line messages for everything that can be wrong. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ConfigError, formatProblems, knownKeys } from "../../src/experiment/config-errors.js";
import { loadConfig, stringifyConfig } from "../../src/experiment/load-config.js";

const common = {
  data: z.strictObject({ name: z.string(), path: z.string().optional() }),
  train: z
    .strictObject({
      steps: z.int().min(1).default(1000),
      batchSize: z.int().min(1).max(4096).default(64),
      optimiser: z.strictObject({ learningRate: z.number().positive().default(2e-4) }).prefault({}),
    })
    .prefault({}),
  precision: z.enum(["auto", "float32", "bfloat16"]).default("auto"),
  threads: z.union([z.int().min(1), z.literal("auto")]).default("auto"),
  betas: z.array(z.number()).default([0.9, 0.99]),
  labels: z.record(z.string(), z.number()).default({}),
};
const schedule = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("linear"),
    gammaMin: z.number().default(-13.3),
    gammaMax: z.number().default(5),
  }),
  z.strictObject({ kind: z.literal("monotone"), hidden: z.int().default(1024) }),
]);
const schema = z.discriminatedUnion("system", [
  z.strictObject({ system: z.literal("vdm"), ...common, model: z.strictObject({ schedule }) }),
  z.strictObject({
    system: z.literal("ddgm"),
    ...common,
    model: z.strictObject({ chain: z.int().default(1000) }),
  }),
]);

const GOOD = `system: vdm
data:
  name: fashion-mnist
model:
  schedule:
    kind: linear
`;

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-config-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const file = path.join(folder, name);
  fs.writeFileSync(file, text);
  return file;
}

function load(text: string, ...overrides: string[]) {
  return loadConfig(schema, { file: "a.yaml", text, overrides });
}

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof Error) return error.message;
  }
  return "no error";
}

test("defaults are filled in and overrides are parsed as YAML", () => {
  const config = load(GOOD, "train.steps=7", "betas=[0.5, 0.75]", "data.path='2026'", "labels.cat=3");
  expect(config.train).toEqual({ steps: 7, batchSize: 64, optimiser: { learningRate: 2e-4 } });
  expect(config.betas).toEqual([0.5, 0.75]);
  expect(config.data.path).toBe("2026");
  expect(config.labels).toEqual({ cat: 3 });
});

test("an override by a map replaces the whole map", () => {
  expect(load(GOOD, "model.schedule={kind: monotone, hidden: 8}").model).toEqual({
    schedule: { kind: "monotone", hidden: 8 },
  });
});

test("an override reaches into a list", () => {
  const text = `${GOOD}betas: [0.1, 0.2, 0.3]\n`;
  expect(load(text, "betas.1=7").betas).toEqual([0.1, 7, 0.3]);
  expect(load(text, "betas.3=0.4").betas).toEqual([0.1, 0.2, 0.3, 0.4]);
});

test.each([
  ["train:\n  stpes: 3\n", 'a.yaml:8: unknown key "train.stpes": did you mean "train.steps"?'],
  ["batchsize: 3\n", 'a.yaml:7: unknown key "batchsize": did you mean "train.batchSize"?'],
  [
    "learning_rate: 3\n",
    'a.yaml:7: unknown key "learning_rate": did you mean "train.optimiser.learningRate"?',
  ],
  ["trian: {steps: 3}\n", 'a.yaml:7: unknown key "trian": did you mean "train"?'],
  [
    "train: {zzzzzzzz: 3}\n",
    'a.yaml:7: unknown key "train.zzzzzzzz"; expected one of batchSize, optimiser, steps',
  ],
  ["train: {steps: many}\n", 'a.yaml:7: "train.steps" must be a number; found "many"'],
  ["train: {steps: 1.5}\n", 'a.yaml:7: "train.steps" must be a whole number; found 1.5'],
  ["train: {steps: 0}\n", 'a.yaml:7: "train.steps" must be at least 1; found 0'],
  ["train: {batchSize: 5000}\n", 'a.yaml:7: "train.batchSize" must be at most 4096; found 5000'],
  [
    "train: {optimiser: {learningRate: 0}}\n",
    'a.yaml:7: "train.optimiser.learningRate" must be more than 0; found 0',
  ],
  ["train: [1, 2]\n", 'a.yaml:7: "train" must be a map; found a list of 2'],
  [
    "precision: float23\n",
    'a.yaml:7: "precision" must be one of auto, float32, bfloat16; found "float23": did you mean "float32"?',
  ],
  ["threads: atuo\n", 'a.yaml:7: "threads" must be a number or auto; found "atuo": did you mean "auto"?'],
  ["betas: [0.5, x]\n", 'a.yaml:7: "betas.1" must be a number; found "x"'],
])("a mistake in %j", (text, expected) => {
  expect(message(() => load(GOOD + text))).toBe(expected);
});

test("discriminators list their choices", () => {
  expect(message(() => load(GOOD.replace("system: vdm", "system: vdn")))).toBe(
    'a.yaml:1: "system" must be one of vdm, ddgm; found "vdn": did you mean "vdm"?',
  );
  expect(message(() => load(GOOD.replace("kind: linear", "kind: linaer")))).toBe(
    'a.yaml:6: "model.schedule.kind" must be one of linear, monotone; found "linaer": did you mean "linear"?',
  );
  expect(message(() => load("data: {name: x}\n"))).toBe(
    'a.yaml: missing key "system": expected one of vdm, ddgm',
  );
});

test("a word where a part is a map goes by its kind", () => {
  expect(message(() => load(GOOD, "model.schedule=linear"))).toBe(
    '--set model.schedule=linear: "model.schedule" must be a map; found "linear": did you mean "model.schedule.kind"?',
  );
  expect(message(() => load(GOOD, "train=linear"))).toBe(
    '--set train=linear: "train" must be a map; found "linear"',
  );
});

test("keys of another choice are unknown here, and never suggested", () => {
  expect(message(() => load(GOOD, "model.schedule.hidden=3"))).toBe(
    '--set model.schedule.hidden=3: unknown key "model.schedule.hidden"; expected one of gammaMax, gammaMin, kind',
  );
});

test("a missing key is placed at the map it belongs to; several problems are one line, and data", () => {
  const text = "system: ddgm\ndata: {}\nmodel: {chain: a}\n";
  const wrong = () => load(text);
  expect(message(wrong)).toBe(
    'a.yaml:2: missing key "data.name": expected text; a.yaml:3: "model.chain" must be a number; found "a"',
  );
  expect(wrong).toThrow(ConfigError);
  try {
    wrong();
  } catch (error) {
    const { problems } = error as ConfigError;
    expect(problems[0]).toEqual({
      path: ["data", "name"],
      code: "missing",
      expected: "text",
      found: "nothing",
      source: "a.yaml",
      line: 2,
    });
    expect(formatProblems(problems)).toBe(message(wrong));
  }
});

test.each([
  ["train.stpes=3", '--set train.stpes=3: unknown key "train.stpes": did you mean "train.steps"?'],
  ["trian.steps=3", '--set trian.steps=3: unknown key "trian.steps": did you mean "train.steps"?'],
  ["__proto__.steps=3", /^--set __proto__\.steps=3: unknown key/],
  ["train.steps=-1", '--set train.steps=-1: "train.steps" must be at least 1; found -1'],
  ["train.steps", '--set "train.steps": expected KEY=VALUE, such as train.steps=1000'],
  ["train.steps=", '--set "train.steps=": expected a value after "=", found none'],
  ["train..steps=1", /expected KEY=VALUE/],
  ["data.name=[a", /^--set "data.name=\[a": the value is not YAML \(.*\); quote it$/],
])("a mistake in --set %s", (text, expected) => {
  expect(message(() => load(GOOD, text))).toMatch(expected);
});

test("YAML that is none is refused with its line and column", () => {
  expect(message(() => load("system: vdm\ndata: {name: [}\n"))).toMatch(/^a\.yaml:2:\d+: .+$/);
  expect(message(() => load("system: vdm\nsystem: ddgm\n"))).toMatch(/^a\.yaml:2:1: .*unique/);
  expect(message(() => load("- system\n"))).toMatch(/^a\.yaml:1: a config is a map/);
});

test("extends merges maps, replaces lists, and keeps the places of both files", () => {
  write("base.yaml", `${GOOD}train:\n  steps: 5\n  batchSize: 2\nbetas: [1, 2, 3]\n`);
  const file = write("child.yaml", "extends: base.yaml\ntrain: {steps: 9}\nbetas: [4]\n");
  const config = loadConfig(schema, { file, overrides: [] });
  expect(config.train).toMatchObject({ steps: 9, batchSize: 2 });
  expect(config.betas).toEqual([4]);
  expect(stringifyConfig(config)).not.toContain("extends");

  write("base.yaml", `${GOOD}train:\n  stpes: 5\n`);
  expect(message(() => loadConfig(schema, { file, overrides: [] }))).toMatch(
    /base\.yaml:8: unknown key "train.stpes"/,
  );
});

test("extends leaves behind the options of a part that the child replaces by another kind", () => {
  const data = "data: {name: fashion-mnist}";
  write("base.yaml", `system: vdm\n${data}\nmodel: {schedule: {kind: linear, gammaMin: -9}}\n`);
  const other = write("child.yaml", "extends: base.yaml\nmodel: {schedule: {kind: monotone}}\n");
  expect(loadConfig(schema, { file: other, overrides: [] })).toMatchObject({
    model: { schedule: { kind: "monotone", hidden: 1024 } },
  });
  const same = write("same.yaml", "extends: base.yaml\nmodel: {schedule: {kind: linear, gammaMax: 4}}\n");
  expect(loadConfig(schema, { file: same, overrides: [] })).toMatchObject({
    model: { schedule: { kind: "linear", gammaMin: -9, gammaMax: 4 } },
  });
  const overrides = ["model.schedule.hidden=7", "model.schedule.kind=monotone"];
  expect(loadConfig(schema, { file: same, overrides })).toMatchObject({
    model: { schedule: { kind: "monotone", hidden: 7 } },
  });
});

test("extends in a circle, of nothing, and of a file that is not there", () => {
  write("x.yaml", "extends: y.yaml\n");
  const file = write("y.yaml", "system: vdm\nextends: x.yaml\n");
  expect(message(() => loadConfig(schema, { file, overrides: [] }))).toMatch(
    /x\.yaml:1: "extends" goes in a circle \(y\.yaml -> x\.yaml -> y\.yaml\); remove one of them$/,
  );
  const orphan = write("orphan.yaml", "extends: nowhere.yaml\n");
  expect(message(() => loadConfig(schema, { file: orphan, overrides: [] }))).toMatch(
    /orphan\.yaml:1: "extends" names "nowhere\.yaml", but there is no file/,
  );
});

test("a config file that is not there: the nearest one is suggested", () => {
  write("quickstart.yaml", GOOD);
  const file = path.join(folder, "quikstart.yaml");
  expect(message(() => loadConfig(schema, { file, overrides: [] }))).toBe(
    `there is no config ${file}: did you mean "quickstart.yaml"?`,
  );
});

test("the resolved YAML does not depend on the order of keys, and reads back as itself", () => {
  const one = load(
    "system: vdm\nthreads: 2\nmodel: {schedule: {gammaMin: -1.0e-7, kind: linear}}\ndata: {name: '007'}\n",
  );
  const two = load(
    "data: {name: '007'}\nmodel: {schedule: {kind: linear, gammaMin: -1.0e-7}}\nthreads: 2\nsystem: vdm\n",
  );
  expect(stringifyConfig(one)).toBe(stringifyConfig(two));
  expect(load(stringifyConfig(one))).toEqual(one);
});

test("the walker finds every key of every kind of schema", () => {
  const small = z.strictObject({
    a: z.strictObject({ b: z.number().optional() }).prefault({}),
    list: z.array(z.strictObject({ c: z.number() })).default([]),
    any: z.record(z.string(), z.number()).nullable(),
    either: z.union([z.number(), z.strictObject({ d: z.string() }).readonly()]),
    kind: z.discriminatedUnion("k", [
      z.strictObject({ k: z.literal("p"), e: z.number() }),
      z.strictObject({ k: z.literal("q"), f: z.number() }),
    ]),
    both: z.intersection(z.object({ g: z.number() }), z.object({ h: z.number() })),
    pipe: z.preprocess((value) => value, z.strictObject({ i: z.number() })),
  });
  const dotted = (value?: unknown) => knownKeys(small, value).map((key) => key.join("."));
  const always = ["a", "a.b", "list", "list.*", "list.*.c", "any", "any.*", "either", "either.d", "kind"];
  const after = ["both", "both.g", "both.h", "pipe", "pipe.i"];
  expect(dotted()).toEqual([...always, "kind.k", "kind.e", "kind.k", "kind.f", ...after]);
  expect(dotted({ kind: { k: "q" } })).toEqual([...always, "kind.k", "kind.f", ...after]);
});
