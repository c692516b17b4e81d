/** Folders, zip and tar archives of PNG and JPEG images; split and class are folders. */
import fs from "node:fs";
import path from "node:path";
import { UserError } from "../errors.js";
import { isArchive, openContainer } from "./archive.js";
import { cachedSource } from "./cache.js";
import { decodeImages } from "./decode-images.js";
import { type DatasetRules, type Format, missingSplit } from "./format.js";
import { inNaturalOrder, splitOfFile, splitOfFolder } from "./names.js";
import type { Split } from "./source.js";

/**
 * Images as `train/cat/0001.png`, at any depth and with any of the levels left out. The split folders `train`,
 * `val` and `test` are those of the first level at which every image has one; without them everything is `train`.
 * The first folder below that differs between images is the class; classes are numbered in the order of their names.
 * A folder may instead hold one archive a split (`train_32x32.tar`, `valid_32x32.tar`).
 */
export const images: Format = {
  name: "images",
  describes: "a folder, zip or tar archive of PNG or JPEG images",
  recognises(place) {
    if (!fs.statSync(place).isDirectory()) return isArchive(place);
    return splitArchives(place).size > 0 || holdsImage(place);
  },
  async splits(place, rules) {
    const archives = splitArchives(place);
    if (archives.size > 0) return [...archives.keys()];
    return [...arrange(await openContainer(place).list(), rules).keys()];
  },
  async open(request) {
    const { name, path: origin, split, size, onProgress, rules } = request;
    const archives = splitArchives(origin);
    const place = archives.size > 0 ? archives.get(split) : origin;
    if (!place) throw missingSplit(request, [...archives.keys()]);
    const container = openContainer(place);
    const inFolder = fs.statSync(place).isDirectory() ? await container.list() : undefined;
    const files = inFolder?.filter(isImage).map((file) => path.join(place, file)) ?? [place];
    const identity = { name, split, origin, files, settings: { format: "images", size } };
    return cachedSource(identity, async (pixels) => {
      const arranged = arrange(inFolder ?? (await container.list()), rules);
      const chosen = archives.size > 0 ? [...arranged.values()].flat() : arranged.get(split);
      if (arranged.size === 0) throw new UserError(`${place}: expected PNG or JPEG images, found none`);
      if (!chosen) throw missingSplit(request, [...arranged.keys()]);
      const indexOf = new Map(chosen.map((image, index) => [image.name, index]));
      const encoded = async function* () {
        for await (const { name: file, bytes } of container.files(new Set(indexOf.keys())))
          yield {
            index: indexOf.get(file) as number,
            bytes,
            place: inFolder ? path.join(place, file) : `${place}: ${file}`,
          };
      };
      const shape = await decodeImages(encoded(), pixels, { total: chosen.length, size, onProgress });
      return { shape, length: chosen.length, ...classesOf(chosen, [...arranged.values()].flat()) };
    });
  },
};

interface ArrangedImage {
  readonly name: string;
  /** Its class folder, `""` where there are no classes. */
  readonly class: string;
}

/** The images among `names` by split, each split in natural order. */
function arrange(names: readonly string[], rules: DatasetRules = {}): Map<Split, ArrangedImage[]> {
  const found = inNaturalOrder(names.filter(isImage)).map((name) => ({
    name,
    folders: name.split("/").slice(0, -1),
  }));
  const level = splitLevel(found.map(({ folders }) => folders));
  const below = found.map(({ folders }) => (level === undefined ? folders : folders.slice(level + 1)));
  const shared = sharedDepth(below);
  const arranged = new Map<Split, ArrangedImage[]>();
  const classed = below.every((folders) => folders.length > shared);
  found.forEach(({ name, folders }, i) => {
    const named =
      level === undefined
        ? rules.splitOfImage?.(path.posix.basename(name))
        : splitOfFolder(folders[level] ?? "");
    const split = named ?? "train";
    const members = arranged.get(split) ?? [];
    arranged.set(split, members);
    members.push({ name, class: classed ? (below[i]?.[shared] ?? "") : "" });
  });
  return arranged;
}

/** The first level of folders at which every image is in one named after a split. */
function splitLevel(folders: readonly (readonly string[])[]): number | undefined {
  const deepest = folders.reduce((least, { length }) => Math.min(least, length), Number.POSITIVE_INFINITY);
  for (let level = 0; level < deepest && folders.length > 0; level++)
    if (folders.every((names) => splitOfFolder(names[level] ?? ""))) return level;
  return undefined;
}

/** How many leading folders all images share. */
function sharedDepth(folders: readonly (readonly string[])[]): number {
  const [first = []] = folders;
  const differs = first.findIndex((name, level) => folders.some((names) => names[level] !== name));
  return differs < 0 ? first.length : differs;
}

function classesOf(chosen: readonly ArrangedImage[], all: readonly ArrangedImage[]) {
  const classes = [...new Set(all.map((image) => image.class))].sort();
  if (classes.length < 2) return {};
  const numbers = new Map(classes.map((name, number) => [name, number]));
  return { classes, labels: chosen.map((image) => numbers.get(image.class) as number) };
}

/** The archives of a folder that are named after a split. */
function splitArchives(place: string): Map<Split, string> {
  const archives = new Map<Split, string>();
  if (!fs.statSync(place).isDirectory()) return archives;
  for (const file of inNaturalOrder(fs.readdirSync(place))) {
    const split = isArchive(file) ? splitOfFile(file) : undefined;
    if (split && !archives.has(split)) archives.set(split, path.join(place, file));
  }
  return archives;
}

function isImage(name: string): boolean {
  return /\.(png|jpe?g)$/i.test(name) && !/(^|\/)(\.|__MACOSX\/)/.test(name);
}

/** Whether an image lies in `folder` or up to four levels below. */
function holdsImage(folder: string, levels = 4): boolean {
  const entries = fs.readdirSync(folder, { withFileTypes: true });
  if (entries.some(({ name }) => isImage(name))) return true;
  const below = entries.filter((entry) => levels > 0 && entry.isDirectory());
  return below.some(({ name }) => holdsImage(path.join(folder, name), levels - 1));
}
