/** IDX files, gzipped or not: MNIST, Fashion-MNIST and their kin (yann.lecun.com/exdb/mnist, "file formats"). */
import fs from "node:fs";
import path from "node:path";
import { UserError } from "../errors.js";
import { type Format, missingSplit } from "./format.js";
import { readMaybeGzipped } from "./gzip.js";
import { inNaturalOrder, splitOfFile } from "./names.js";
import { memorySource, type Split } from "./source.js";

/** A folder of `train-images-idx3-ubyte` and its like; labels where the file of that name is there. */
export const idx: Format = {
  name: "idx",
  describes: "a folder of IDX files (train-images-idx3-ubyte.gz, ...)",
  recognises: (place) => imageFiles(place).size > 0,
  async splits(place) {
    return [...imageFiles(place).keys()];
  },
  async open(request) {
    const { name, path: origin, split } = request;
    const files = imageFiles(origin);
    const file = files.get(split);
    if (!file) throw missingSplit(request, [...files.keys()]);
    const [[length, height, width], pixels] = readIdx(file, "N images of height x width");
    const labelled = labelFile(file);
    const labels = labelled && readLabels(labelled, length);
    const description = { name, split, origin, shape: [1, height, width] as const, length };
    return memorySource(labels ? { ...description, labels } : description, pixels);
  },
};

const imagePattern = /images[-.]idx3-ubyte(\.gz)?$/;

/** The image file of each split, in the folder, in its `raw` folder or the one file itself. */
function imageFiles(place: string): Map<Split, string> {
  if (!fs.statSync(place).isDirectory())
    return new Map(imagePattern.test(place) ? [[splitOfFile(path.basename(place)) ?? "train", place]] : []);
  const files = new Map<Split, string>();
  for (const folder of [place, path.join(place, "raw")]) {
    if (!fs.existsSync(folder)) continue;
    for (const file of inNaturalOrder(fs.readdirSync(folder))) {
      const split = imagePattern.test(file) ? (splitOfFile(file) ?? "train") : undefined;
      if (split && !files.has(split)) files.set(split, path.join(folder, file));
    }
  }
  return files;
}

function labelFile(images: string): string | undefined {
  const plain = path
    .basename(images)
    .replace(/\.gz$/, "")
    .replace("images", "labels")
    .replace("idx3", "idx1");
  return [plain, `${plain}.gz`]
    .map((name) => path.join(path.dirname(images), name))
    .find((file) => fs.existsSync(file));
}

function readLabels(file: string, images: number): Uint8Array {
  const [[length], labels] = readIdx(file, "N labels");
  if (length !== images)
    throw new UserError(
      `${file}: expected ${images} labels, one an image, found ${length}; fetch both files again`,
    );
  return labels;
}

type Dimensions<What> = What extends "N labels" ? [number] : [number, number, number];

/** The dimensions and bytes of an IDX file of unsigned bytes. */
function readIdx<What extends "N labels" | "N images of height x width">(
  file: string,
  what: What,
): [Dimensions<What>, Uint8Array] {
  const rank = what === "N labels" ? 1 : 3;
  const bytes = readMaybeGzipped(file);
  const header = 4 + 4 * rank;
  const magic = bytes.length >= 4 ? bytes.readUInt32BE(0) : undefined;
  const expected = 0x0800 + rank;
  if (magic !== expected)
    throw new UserError(
      `${file}: expected the IDX magic number ${hex(expected)} (${what}) at byte 0, ` +
        `found ${magic === undefined ? `${bytes.length} bytes in all` : hex(magic)}; fetch the file again`,
    );
  const dimensions = Array.from({ length: rank }, (_, i) =>
    bytes.length >= header ? bytes.readUInt32BE(4 + 4 * i) : 0,
  );
  const each = dimensions.slice(1).reduce((a, b) => a * b, 1);
  const size = header + (dimensions[0] ?? 0) * each;
  if (bytes.length < header || bytes.length !== size || size === header)
    throw new UserError(
      `${file}: expected ${size} bytes for ${dimensions.join(" x ")}, found ${bytes.length}` +
        `${bytes.length < size ? `: cut short in item ${Math.floor((bytes.length - header) / each)}` : ""}; fetch the file again`,
    );
  return [dimensions as Dimensions<What>, bytes.subarray(header)];
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}
