/** Which runs are the same experiment with another seed, and what such a group is called. */
import type { Config } from "./config.js";
import type { MetricsRecord } from "./journal.js";
import type { Run } from "./run-folder.js";
import { incidental } from "./trained.js";

/** What a run is told apart by. */
export interface GroupMember {
  readonly run: Run;
  readonly config: Config;
  readonly records: readonly MetricsRecord[];
}

/** The seed, and what does not change what is learned; where the data lie is told by their fingerprint. */
const irrelevant: readonly string[] = [
  ...["data.path", "data.evaluationSplit", "evaluate", "sample", "device", "threads"],
  "train.seed",
  ...incidental,
];

/**
 * Groups of runs that differ in nothing but `irrelevant`, in the order in which they come, each with its name: that of
 * its run folders, without number and seed (`0007-diffenc-seed2` is `diffenc`). Where the folders of a group have
 * several such names, or two groups the same, all groups are named by their system and the keys that tell them apart.
 */
export function grouped<M extends GroupMember>(
  members: readonly M[],
): readonly (readonly [string, readonly M[]])[] {
  const groups = new Map<string, { readonly relevant: ReadonlyMap<string, string>; readonly members: M[] }>();
  for (const member of members) {
    const relevant = relevantKeys(member);
    const key = JSON.stringify([...relevant].sort());
    const group = groups.get(key) ?? { relevant, members: [] };
    groups.set(key, group);
    group.members.push(member);
  }
  const all = [...groups.values()];
  const short = all.map((group) => [...new Set(group.members.map(({ run }) => shortName(run.name)))]);
  const clear = short.every((names) => names.length === 1) && new Set(short.flat()).size === all.length;
  const names = clear ? short.flat() : tellApart(all.map(({ relevant }) => relevant));
  return all.map((group, i) => [names[i] as string, group.members]);
}

/** `0007-diffenc-seed2`, `diffenc_s2` and `diffenc.seed-2` are `diffenc`. */
function shortName(folder: string): string {
  const name = folder.replace(/^\d{4,}-/, "");
  return name.replace(/[-_.](?:seed|s)[-_.=]?\d+$/i, "") || name;
}

/** The keys of a config that tell it apart, dotted, with their values. */
function relevantKeys({ config, records }: GroupMember): ReadonlyMap<string, string> {
  const leaves = new Map<string, string>();
  const walk = (value: unknown, place: string) => {
    if (irrelevant.includes(place)) return;
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      leaves.set(place, typeof value === "string" ? value : JSON.stringify(value));
      return;
    }
    for (const [key, below] of Object.entries(value)) walk(below, place === "" ? key : `${place}.${key}`);
  };
  walk(config, "");
  const data = records.findLast((record) => record.data !== undefined)?.data as
    | { readonly fingerprint?: string }
    | undefined;
  if (data?.fingerprint !== undefined) leaves.set("data.fingerprint", data.fingerprint);
  return leaves;
}

/** For each group its system, and the keys in which it differs from another one of that system. */
function tellApart(groups: readonly ReadonlyMap<string, string>[]): readonly string[] {
  return groups.map((group) => {
    const system = group.get("system") ?? "?";
    const others = groups.filter((other) => other !== group && other.get("system") === system);
    const keys = [...new Set([group, ...others].flatMap((one) => [...one.keys()]))];
    const telling = keys
      .filter((key) => others.some((other) => other.get(key) !== group.get(key)))
      .map((key) => `${key}=${group.get(key) ?? "none"}`);
    return [system, ...telling].join(" ");
  });
}
