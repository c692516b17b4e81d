/** Where a data set lies: what was given, registered, named by `VARIDIFF_DATA`, or installed. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { UserError } from "../errors.js";
import { writeFileAtomic } from "../io/files.js";
import { type CatalogueEntry, catalogue, catalogued } from "./catalogue.js";
import { genericFormats, recognise } from "./formats.js";

export type FoundBy = "path" | "registered" | "VARIDIFF_DATA" | "installed";

/** Where a data set was found, or every place that was looked at. */
export interface Location {
  readonly found?: { readonly path: string; readonly by: FoundBy };
  readonly tried: readonly string[];
}

/** Looks for `name` at `given`, among the registered sets, below `VARIDIFF_DATA` and where packages install it. */
export function locate(name: string, given?: string): Location {
  if (given !== undefined) return firstOf([{ by: "path", path: path.resolve(given) }]);
  const registered = registeredDatasets()[name];
  if (registered !== undefined) return firstOf([{ by: "registered", path: registered }]);
  const entry = catalogued(name);
  const installed = (entry?.wellKnown ?? []).map((place) => ({ by: "installed", path: place }) as const);
  return firstOf([...belowDataFolder(name, entry), ...installed]);
}

type Candidate = NonNullable<Location["found"]>;

function firstOf(candidates: readonly Candidate[]): Location {
  const found = candidates.find((candidate) => fs.existsSync(candidate.path));
  const tried = candidates.map(({ path }) => path);
  return found ? { found, tried } : { tried };
}

function belowDataFolder(name: string, entry: CatalogueEntry | undefined): Candidate[] {
  const root = process.env.VARIDIFF_DATA;
  if (!root) return [];
  const names = [
    name,
    ...[".zip", ".tar", ".tar.gz", ".npz"].map((ending) => name + ending),
    ...(entry?.aliases ?? []),
  ];
  const places = names.map((inside) => path.resolve(root, inside));
  if (entry && isItself(path.resolve(root), entry)) places.push(path.resolve(root));
  return places.map((place) => ({ by: "VARIDIFF_DATA", path: place }));
}

/** Whether the data folder holds the set directly, and is not named after another one. */
function isItself(root: string, entry: CatalogueEntry): boolean {
  const named = catalogue.find(({ name, aliases = [] }) => [name, ...aliases].includes(path.basename(root)));
  if (!fs.existsSync(root) || (named !== undefined && named !== entry)) return false;
  const direct = entry.formats.filter((format) => format !== "images" || named === entry);
  return recognise(root, direct) !== undefined;
}

/** The paths registered by name with `varidiff data add`. */
export function registeredDatasets(): Readonly<Record<string, string>> {
  const file = registryFile();
  let text: string;
  try {
    text = fs.readFileSync(file, "utf8");
  } catch {
    return {};
  }
  try {
    const found: unknown = JSON.parse(text);
    if (isPaths(found)) return found;
  } catch {
    // Reported below, as any other content that is not a list of paths.
  }
  throw new UserError(`${file}: expected a JSON object of names and paths; mend it or delete it`);
}

/** Registers the absolute path of `name`, in place of an earlier one. */
export function registerDataset(name: string, place: string): void {
  const file = registryFile();
  const all = { ...registeredDatasets(), [name]: path.resolve(place) };
  fs.mkdirSync(path.dirname(file), { recursive: true });
  writeFileAtomic(file, `${JSON.stringify(all, undefined, 2)}\n`);
}

function registryFile(): string {
  const root = process.env.XDG_CONFIG_HOME || path.join(os.homedir(), ".config");
  return path.join(root, "varidiff", "data.json");
}

function isPaths(value: unknown): value is Record<string, string> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((place) => typeof place === "string")
  );
}

/** The error for a data set that lies nowhere: what was looked for, where, and how to get it. */
export function notFound(name: string, { tried }: Location): UserError {
  const entry = catalogued(name);
  const places = [...tried, ...(process.env.VARIDIFF_DATA ? [] : ["VARIDIFF_DATA (not set)"])];
  const get = entry?.howToGet ?? `register it with: varidiff data add ${name} PATH`;
  const generic = genericFormats.some((format) => format === name) ? "" : "; or give its path (data.path)";
  return new UserError(
    `data set "${name}" was not found; looked in ${places.join(", ")}; to get it: ${get}${generic}`,
  );
}
