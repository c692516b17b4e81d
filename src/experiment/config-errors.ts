/** What is wrong with a config, as data: found by walking zod's issues, and put into words by a formatter apart. */
import { distance } from "fastest-levenshtein";
import type { $ZodIssue, $ZodType, $ZodTypes } from "zod/v4/core";
import { UserError } from "../errors.js";

export type ProblemCode =
  | "unknown-key"
  | "missing"
  | "wrong-type"
  | "out-of-range"
  | "not-a-choice"
  | "invalid";

export interface ConfigProblem {
  /** The key from the top, `["train", "steps"]`; `[]` is the config itself. */
  readonly path: readonly string[];
  readonly code: ProblemCode;
  /** What may stand there, in words: `a whole number`, `at least 1`, `one of vdm, diffenc`. */
  readonly expected: string;
  /** What stands there, in words: `"abc"`, `0`, `nothing`, `a map`. */
  readonly found: string;
  /** The name that was probably meant: a value for `not-a-choice`, else a dotted key. */
  readonly suggestion?: string;
  /** The config file, or `--set train.steps=0`. */
  readonly source?: string;
  readonly line?: number;
}

/** A config that cannot be used; the message tells its problems in one line, `problems` are the same as data. */
export class ConfigError extends UserError {
  readonly problems: readonly ConfigProblem[];
  constructor(problems: readonly ConfigProblem[]) {
    super(formatProblems(problems));
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** All in one line, each as in `configs/a.yaml:12: unknown key "train.stpes": did you mean "train.steps"?`. */
export function formatProblems(problems: readonly ConfigProblem[]): string {
  return problems.map(formatProblem).join("; ");
}

function formatProblem(problem: ConfigProblem): string {
  const { path, code, expected, found, suggestion, source, line } = problem;
  const place = source === undefined ? "" : `${source}${line === undefined ? "" : `:${line}`}: `;
  const key = path.length === 0 ? "the config" : `"${path.join(".")}"`;
  const meant = suggestion === undefined ? undefined : `: did you mean "${suggestion}"?`;
  switch (code) {
    case "unknown-key":
      return `${place}unknown key ${key}${meant ?? `; expected ${expected}`}`;
    case "missing":
      return `${place}missing key ${key}: expected ${expected}`;
    case "wrong-type":
    case "out-of-range":
    case "not-a-choice":
    case "invalid":
      return `${place}${key} must be ${expected}; found ${found}${meant ?? ""}`;
    default:
      return code satisfies never;
  }
}

/** The problems behind zod's `issues` with `value`, the config that was refused by `schema`. */
export function findProblems(
  schema: $ZodType,
  value: unknown,
  issues: readonly $ZodIssue[],
): readonly ConfigProblem[] {
  const known = knownKeys(schema, value);
  return issues.flatMap((issue) => problemsOf(issue, [], value, known));
}

/** An unknown key with the nearest known one, `known` being `knownKeys(schema, value)`. */
export function unknownKey(path: readonly string[], value: unknown, known: readonly Key[]): ConfigProblem {
  const siblings = known.filter(
    (key) => key.length === path.length && matches(key.slice(0, -1), path.slice(0, -1)),
  );
  const suggestion = nearestKey(path, known);
  return {
    path,
    code: "unknown-key",
    expected: siblings.length > 0 ? `one of ${list(siblings.map((key) => key.at(-1)))}` : "no key here",
    found: describe(valueAt(value, path)),
    ...(suggestion === undefined ? {} : { suggestion }),
  };
}

function problemsOf(
  issue: $ZodIssue,
  parent: readonly string[],
  value: unknown,
  known: readonly Key[],
): ConfigProblem[] {
  const path = [...parent, ...issue.path.map(String)];
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => unknownKey([...path, key], value, known));
  const input = valueAt(value, path);
  if (issue.code === "invalid_union" && "errors" in issue && issue.errors.length > 0) {
    const meant = optionMeant(issue.errors, input);
    if (meant) return meant.flatMap((inner) => problemsOf(inner, path, value, known));
  }
  const expected = expectation(issue);
  const found = describe(input);
  if (input === undefined) return [{ path, code: "missing", expected, found }];
  const code = codeOf(issue);
  const suggestion =
    code === "not-a-choice" ? nearest(String(input), choices(issue)) : kindKey(path, input, known);
  return [{ path, code, expected, found, ...(suggestion === undefined ? {} : { suggestion }) }];
}

/** The key that a word belongs to which was given where a part is named by its `kind`: `model.start.kind`. */
function kindKey(path: readonly string[], input: unknown, known: readonly Key[]): string | undefined {
  const kind = [...path, "kind"];
  return typeof input === "string" && isKnown(kind, known) ? kind.join(".") : undefined;
}

/** The option of a union whose kind fits (a map for a map) and whose inside is at fault; none when no kind fits. */
function optionMeant(options: readonly $ZodIssue[][], input: unknown): $ZodIssue[] | undefined {
  if (typeof input !== "object" || input === null) return undefined;
  return options
    .filter((issues) => issues.every(({ path, code }) => path.length > 0 || code === "unrecognized_keys"))
    .sort((a, b) => a.length - b.length)[0];
}

function codeOf(issue: $ZodIssue): ProblemCode {
  switch (issue.code) {
    case "invalid_type":
      return "wrong-type";
    case "too_big":
    case "too_small":
    case "not_multiple_of":
      return "out-of-range";
    case "invalid_value":
      return "not-a-choice";
    case "invalid_union":
      return choices(issue).length > 0 ? "not-a-choice" : "wrong-type";
    default:
      return "invalid";
  }
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  number: "a number",
  int: "a whole number",
  string: "text",
  boolean: "true or false",
  object: "a map",
  record: "a map",
  array: "a list",
  tuple: "a list",
};

/** What the issue asks for, to stand after "must be". */
function expectation(issue: $ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return TYPE_WORDS[issue.expected] ?? issue.expected;
    case "too_small":
      return `${issue.exact ? "exactly" : issue.inclusive === false ? "more than" : "at least"} ${issue.minimum}${unit(issue.origin)}`;
    case "too_big":
      return `${issue.exact ? "exactly" : issue.inclusive === false ? "less than" : "at most"} ${issue.maximum}${unit(issue.origin)}`;
    case "not_multiple_of":
      return `a multiple of ${issue.divisor}`;
    case "invalid_format":
      return issue.pattern === undefined ? `a valid ${issue.format}` : `text that matches ${issue.pattern}`;
    case "invalid_value":
      return oneOf(choices(issue));
    case "invalid_union": {
      if ("options" in issue && issue.options) return oneOf(choices(issue));
      const own = issue.errors.flatMap((issues) =>
        issues.filter(({ path }) => path.length === 0).map(expectation),
      );
      return own.length > 0 ? [...new Set(own)].join(" or ") : issue.message;
    }
    default:
      return issue.message.replace(/^expected /, "");
  }
}

function unit(origin: string): string {
  if (origin === "string") return " characters";
  return origin === "array" || origin === "set" ? " entries" : "";
}

function choices(issue: $ZodIssue): string[] {
  if (issue.code === "invalid_value") return issue.values.map(String);
  if (issue.code !== "invalid_union") return [];
  if ("options" in issue && issue.options) return issue.options.map(String);
  return issue.errors.flatMap((issues) => issues.flatMap(choices));
}

function oneOf(names: readonly string[]): string {
  return names.length === 1 ? `${names[0]}` : `one of ${names.join(", ")}`;
}

function list(names: readonly (string | undefined)[]): string {
  return [...new Set(names)].sort().join(", ");
}

function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object") return "a map";
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (node, key) =>
      typeof node === "object" && node !== null && Object.hasOwn(node, key)
        ? (node as Readonly<Record<string, unknown>>)[key]
        : undefined,
    value,
  );
}

/** A key a schema knows, from the top; `*` stands for any name in a record and any place in a list. */
export type Key = readonly string[];

/**
 * Every key `schema` knows, read from the schema itself. Of a discriminated union only the option that `value` chose
 * is walked, and all of them where it chose none.
 */
export function knownKeys(schema: $ZodType, value?: unknown): readonly Key[] {
  const type = schema as $ZodTypes;
  const below = (name: string, child: $ZodType): Key[] => [
    [name],
    ...knownKeys(child, valueAt(value, [name])).map((key) => [name, ...key]),
  ];
  const def = type._zod.def;
  switch (def.type) {
    case "object":
      return Object.entries(def.shape).flatMap(([name, child]) => below(name, child));
    case "record":
      return below("*", def.valueType);
    case "array":
      return below("*", def.element);
    case "tuple":
      return def.items.flatMap((item) => below("*", item));
    case "union":
      return chosen(def, value).flatMap((option) => knownKeys(option, value));
    case "intersection":
      return [...knownKeys(def.left, value), ...knownKeys(def.right, value)];
    case "optional":
    case "nullable":
    case "default":
    case "prefault":
    case "nonoptional":
    case "readonly":
    case "catch":
      return knownKeys(def.innerType, value);
    case "pipe":
      return knownKeys((def.in as $ZodTypes)._zod.def.type === "transform" ? def.out : def.in, value);
    default:
      return [];
  }
}

/** Whether `path` is one of `known`. */
export function isKnown(path: readonly string[], known: readonly Key[]): boolean {
  return known.some((key) => key.length === path.length && matches(key, path));
}

function matches(key: Key, path: readonly string[]): boolean {
  return key.every((name, i) => name === "*" || name === path[i]);
}

function chosen(
  def: { readonly options: readonly $ZodType[]; readonly discriminator?: string },
  value: unknown,
): readonly $ZodType[] {
  const { discriminator, options } = def;
  if (discriminator === undefined) return options;
  const choice = valueAt(value, [discriminator]);
  const fitting = options.filter((option) =>
    option._zod.propValues?.[discriminator]?.has(choice as string | number | undefined),
  );
  return fitting.length > 0 ? fitting : options;
}

/**
 * The key that was meant, at any level: `batchsize` at the top is `train.batchSize`. Case and `_`, `-`, `.` do not
 * count, and of two equally near keys the one beside `path` wins.
 */
function nearestKey(path: readonly string[], known: readonly Key[]): string | undefined {
  const name = path.at(-1) ?? "";
  const far = (key: Key) => {
    const beside = key.length === path.length && matches(key.slice(0, -1), path.slice(0, -1));
    const byName = distance(bare(name), bare(key.at(-1) ?? "")) + (beside ? 0 : 0.5);
    return Math.min(byName, distance(bare(path.join("")), bare(key.join(""))));
  };
  const best = known
    .filter((key) => !key.includes("*"))
    .map((key) => ({ key, far: far(key) }))
    .sort((a, b) => a.far - b.far)[0];
  return best && best.far <= tolerance(name) ? best.key.join(".") : undefined;
}

function nearest(name: string, known: readonly string[]): string | undefined {
  const best = known
    .map((candidate) => ({ candidate, far: distance(bare(name), bare(candidate)) }))
    .sort((a, b) => a.far - b.far)[0];
  return best && best.far <= tolerance(name) ? best.candidate : undefined;
}

function bare(name: string): string {
  return name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
}

/** How many letters may differ: a swap of two counts as two. */
function tolerance(name: string): number {
  return name.length <= 3 ? 1 : Math.max(2, Math.floor(name.length / 3));
}
