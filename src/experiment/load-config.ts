/** Configs: YAML with `extends`, `--set a.b=c` overrides, and one zod schema; what comes out is complete and valid. */
import fs from "node:fs";
import path from "node:path";
import { isMap, isScalar, LineCounter, parse, parseDocument, stringify, YAMLError, type YAMLMap } from "yaml";
import type { z } from "zod";
import { UserError } from "../errors.js";
import { fileError } from "../io/index.js";
import { didYouMean } from "../nearest.js";
import {
  ConfigError,
  type ConfigProblem,
  findProblems,
  isKnown,
  knownKeys,
  unknownKey,
} from "./config-errors.js";

export interface ConfigRequest {
  /** The YAML file; with `text` only its name in messages, and where `extends` starts from. */
  readonly file?: string;
  readonly text?: string;
  /** `train.steps=100`: the value is a YAML scalar or flow collection. */
  readonly overrides: readonly string[];
}

interface Place {
  readonly source: string;
  readonly line?: number;
}
type Tree = { readonly [key: string]: unknown };
/** A config before validation, and where each key (dotted) was written. */
interface Draft {
  readonly source: string;
  readonly tree: Tree;
  readonly places: ReadonlyMap<string, Place>;
}

/**
 * The config of `request`, validated by `schema`, defaults filled in.
 *
 * `extends: other.yaml` (relative to the file that says so) is read first and merged under it: maps key by key, lists
 * and scalars replaced, and so a map that says another `kind`.
 * @throws UserError for a file that cannot be read, YAML that is none (file:line:column) and a circle of `extends`
 * @throws ConfigError for keys and values that the schema refuses
 */
export function loadConfig<S extends z.ZodType>(schema: S, request: ConfigRequest): z.output<S> {
  const draft = override(readDraft(request, []), request.overrides, schema);
  const result = schema.safeParse(draft.tree);
  if (result.success) return result.data;
  const problems = findProblems(schema, draft.tree, result.error.issues);
  throw new ConfigError(problems.map((problem) => ({ ...problem, ...placeOf(problem, draft) })));
}

/** The resolved config as YAML: keys in the schema's order, so that equal configs give equal bytes. */
export function stringifyConfig(config: object): string {
  return stringify(config, { aliasDuplicateObjects: false, lineWidth: 0 });
}

function readDraft(request: Omit<ConfigRequest, "overrides">, chain: readonly string[]): Draft {
  const { file } = request;
  const source = file ?? "config";
  const text = request.text ?? (file === undefined ? "" : readText(file));
  const own = parseYaml(text, source);
  if (!Object.hasOwn(own.tree, "extends")) return own;

  const { extends: base, ...tree } = own.tree;
  const place = `${source}:${own.places.get("extends")?.line ?? 1}`;
  if (typeof base !== "string") throw new UserError(`${place}: "extends" must be the name of one YAML file`);
  const below = [...chain, path.resolve(source)];
  const baseFile = path.join(path.dirname(source), base);
  if (below.includes(path.resolve(baseFile))) {
    const circle = [...below, path.resolve(baseFile)].map((name) => path.basename(name)).join(" -> ");
    throw new UserError(`${place}: "extends" goes in a circle (${circle}); remove one of them`);
  }
  if (!fs.existsSync(baseFile)) {
    throw new UserError(`${place}: "extends" names "${base}", but there is no file ${baseFile}`);
  }
  const under = readDraft({ file: baseFile }, below);
  return { source, tree: merge(under.tree, tree), places: new Map([...under.places, ...own.places]) };
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, "utf8");
  } catch (error) {
    if (!fs.existsSync(file))
      throw new UserError(`there is no config ${file}${nearbyConfig(file)}`, { cause: error });
    throw fileError("read", file, error);
  }
}

function nearbyConfig(file: string): string {
  const folder = path.dirname(file);
  if (!fs.existsSync(folder)) return `; there is no folder ${folder} either`;
  const names = fs.readdirSync(folder).filter((name) => /\.ya?ml$/.test(name));
  return didYouMean(path.basename(file), names);
}

function parseYaml(text: string, source: string): Draft {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [fault] = [...document.errors, ...document.warnings];
  if (fault) {
    const { line, col } = lines.linePos(fault.pos[0]);
    throw new UserError(`${source}:${line}:${col}: ${oneLine(fault.message)}`);
  }
  const places = new Map<string, Place>();
  const note = (map: YAMLMap, above: readonly string[]) => {
    for (const { key, value } of map.items) {
      if (!isScalar(key)) continue;
      const here = [...above, String(key.value)];
      places.set(here.join("."), { source, line: lines.linePos(key.range?.[0] ?? 0).line });
      if (isMap(value)) note(value, here);
    }
  };
  if (isMap(document.contents)) note(document.contents, []);
  const tree: unknown = document.toJS() ?? {};
  if (!isTree(tree))
    throw new UserError(`${source}:1: a config is a map of keys and values, such as "system: vdm"`);
  return { source, tree, places };
}

function override(draft: Draft, overrides: readonly string[], schema: z.ZodType): Draft {
  const assigned = overrides.map((text) => ({ text, ...parseOverride(text) }));
  // Kinds first: they decide which options there are.
  const inOrder = [...assigned.filter(isKind), ...assigned.filter((each) => !isKind(each))];
  const tree = inOrder.reduce<Tree>((sofar, { key, value }) => assign(sofar, key, value), draft.tree);
  const known = knownKeys(schema, tree);
  const unknown = assigned
    .filter(({ key }) => !isKnown(key, known))
    .map(({ text, key }): ConfigProblem => ({ ...unknownKey(key, tree, known), source: `--set ${text}` }));
  if (unknown.length > 0) throw new ConfigError(unknown);
  const places = new Map(draft.places);
  for (const { text, key } of assigned) {
    const dotted = key.join(".");
    for (const other of places.keys()) if (other.startsWith(`${dotted}.`)) places.delete(other);
    places.set(dotted, { source: `--set ${text}` });
  }
  return { source: draft.source, tree, places };
}

function isKind({ key }: { readonly key: readonly string[] }): boolean {
  return key.at(-1) === "kind";
}

function parseOverride(text: string): { readonly key: readonly string[]; readonly value: unknown } {
  const equals = text.indexOf("=");
  const key = text.slice(0, Math.max(equals, 0)).trim().split(".");
  if (equals < 0 || key.includes(""))
    throw new UserError(`--set "${text}": expected KEY=VALUE, such as train.steps=1000`);
  const value = text.slice(equals + 1).trim();
  if (value === "")
    throw new UserError(
      `--set "${text}": expected a value after "=", found none; leave it out to keep what is configured`,
    );
  try {
    return { key, value: parse(value, { prettyErrors: false }) };
  } catch (error) {
    if (!(error instanceof YAMLError)) throw error;
    throw new UserError(`--set "${text}": the value is not YAML (${oneLine(error.message)}); quote it`, {
      cause: error,
    });
  }
}

/** `tree` with `value` at `key`. */
function assign(tree: Tree, key: readonly string[], value: unknown): Tree {
  const [name = "", ...rest] = key;
  const old = Object.hasOwn(tree, name) ? tree[name] : undefined;
  // A part of another kind leaves the options of the old one behind, as with `extends`.
  if (rest.length === 0 && name === "kind" && otherKind(tree, { kind: value })) return { kind: value };
  return { ...tree, [name]: rest.length === 0 ? value : assignInside(old, rest, value) };
}

function assignInside(node: unknown, key: readonly string[], value: unknown): unknown {
  const isPlace = /^\d+$/.test(key[0] ?? "");
  if (Array.isArray(node) && isPlace) return Object.values(assign({ ...node }, key, value));
  return assign(isTree(node) ? node : {}, key, value);
}

function merge(under: Tree, over: Tree): Tree {
  const entries = new Map(Object.entries(under));
  for (const [key, value] of Object.entries(over)) {
    const old = entries.get(key);
    entries.set(key, isTree(old) && isTree(value) && !otherKind(old, value) ? merge(old, value) : value);
  }
  return Object.fromEntries(entries);
}

/** Whether a part is replaced by one of another kind, whose options are not those of the old one. */
function otherKind(old: Tree, value: Tree): boolean {
  return value.kind !== undefined && old.kind !== undefined && value.kind !== old.kind;
}

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Where the key was written, or for one that is missing, the map it belongs to. */
function placeOf(problem: ConfigProblem, { source, places }: Draft): Place {
  for (let length = problem.path.length; length > 0; length--) {
    const place = places.get(problem.path.slice(0, length).join("."));
    if (place) return place;
  }
  return { source };
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}
