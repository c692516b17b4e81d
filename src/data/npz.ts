/** NumPy archives of images: `arr_0` of `[N, H, W, C]` bytes, or ImageNet-32's batches of planes with labels. */
import fs from "node:fs";
import path from "node:path";
import { UserError } from "../errors.js";
import { cachedSource, type PixelFile } from "./cache.js";
import { toPlanes } from "./decode-images.js";
import { type Format, missingSplit } from "./format.js";
import { inNaturalOrder, splitOfFile } from "./names.js";
import { longestNpyHeader, type NpyHeader, parseNpyHeader, parseNpyIntegers } from "./npy.js";
import { type ImageShape, imageBytes, type Split } from "./source.js";
import { readZipEntry, type ZipEntry, zipEntries } from "./zip.js";

/** The files of one split are read one after another in natural order: `train_data_batch_1.npz`, ..., `_10.npz`. */
export const npz: Format = {
  name: "npz",
  describes: "one or more npz files with uint8 images",
  recognises: (place) => npzFiles(place).size > 0,
  async splits(place) {
    return [...npzFiles(place).keys()];
  },
  async open(request) {
    const { name, path: origin, split, onProgress, rules } = request;
    const bySplit = npzFiles(origin);
    const files = bySplit.get(split);
    if (!files) throw missingSplit(request, [...bySplit.keys()]);
    const firstLabel = rules?.firstLabel ?? 0;
    return cachedSource(
      { name, split, origin, files, settings: { format: "npz", firstLabel } },
      async (pixels) => {
        const parts: Part[] = [];
        for (const file of files) parts.push(await inspect(file));
        const { shape } = parts[0] as Part;
        const total = parts.reduce((sum, part) => sum + part.length, 0);
        let done = 0;
        for (const part of parts) {
          if (part.shape.join() !== shape.join())
            throw new UserError(
              `${part.place}: expected images of ${shape.join("x")} as in ${files[0]}, found ${part.shape.join("x")}`,
            );
          for await (const count of copyPixels(part, pixels, done)) {
            done += count;
            onProgress?.(done, total);
          }
        }
        const labels = parts.every((part) => part.labels)
          ? parts.flatMap((part) => part.labels ?? [])
          : undefined;
        return { shape, length: total, ...(labels && { labels: labels.map((label) => label - firstLabel) }) };
      },
    );
  },
};

const imageArrays = ["arr_0", "data", "images"];
const labelArrays = ["labels", "label", "arr_1"];

function npzFiles(place: string): Map<Split, string[]> {
  const files = fs.statSync(place).isDirectory()
    ? inNaturalOrder(fs.readdirSync(place)).map((file) => path.join(place, file))
    : [place];
  const bySplit = new Map<Split, string[]>();
  for (const file of files) {
    if (!/\.npz$/i.test(file)) continue;
    const split = splitOfFile(path.basename(file)) ?? "train";
    bySplit.set(split, [...(bySplit.get(split) ?? []), file]);
  }
  return bySplit;
}

/** What one npz file holds. */
interface Part {
  readonly file: string;
  readonly place: string;
  readonly entry: string;
  readonly offset: number;
  readonly interleaved: boolean;
  readonly shape: ImageShape;
  readonly length: number;
  readonly labels?: readonly number[];
}

async function inspect(file: string): Promise<Part> {
  let found: Omit<Part, "labels"> | undefined;
  let labels: number[] | undefined;
  const names: string[] = [];
  for await (const entry of zipEntries(file)) {
    const array = entry.name.replace(/\.npy$/, "");
    const place = `${file}: array "${array}"`;
    names.push(array);
    if (imageArrays.includes(array)) {
      const header = parseNpyHeader(await readHead(entry), place);
      const layout = imageLayout(header, place);
      const size = header.offset + layout.length * imageBytes(layout.shape);
      if (entry.size !== size)
        throw new UserError(
          `${place}: expected ${size} bytes for ${header.shape.join(" x ")}, found ${entry.size}`,
        );
      found = { file, place, entry: entry.name, offset: header.offset, ...layout };
    } else if (labelArrays.includes(array)) labels = parseNpyIntegers(await readZipEntry(entry), place);
  }
  if (!found)
    throw new UserError(
      `${file}: expected an array ${imageArrays.join(", ")} of images, found ${names.join(", ") || "none"}`,
    );
  if (labels && labels.length !== found.length)
    throw new UserError(`${file}: expected ${found.length} labels, one an image, found ${labels.length}`);
  return labels ? { ...found, labels } : found;
}

function imageLayout(
  { descr, shape }: NpyHeader,
  place: string,
): Pick<Part, "length" | "shape" | "interleaved"> {
  const [length = 0, height = 0, width = 0, channels = 1] = shape;
  if (descr === "|u1" && length > 0) {
    if (shape.length === 3 || (shape.length === 4 && (channels === 1 || channels === 3)))
      return { length, shape: [channels, height, width], interleaved: channels > 1 };
    const side = Math.sqrt(height / 3);
    if (shape.length === 2 && Number.isInteger(side))
      return { length, shape: [3, side, side], interleaved: false };
  }
  throw new UserError(
    `${place}: expected uint8 images of shape [N, H, W, 1 or 3], [N, H, W] or [N, 3*S*S], ` +
      `found ${descr} of shape [${shape.join(", ")}]`,
  );
}

async function readHead(entry: ZipEntry): Promise<Buffer> {
  let head = Buffer.alloc(0);
  for await (const piece of entry.stream()) {
    head = Buffer.concat([head, piece]);
    if (head.length >= longestNpyHeader) break;
  }
  return head;
}

/** Copies the images of `part` to position `first` on; yields how many were copied, piece by piece. */
async function* copyPixels(part: Part, pixels: PixelFile, first: number): AsyncGenerator<number> {
  const size = imageBytes(part.shape);
  let position = first * size;
  let skip = part.offset;
  let rest = Buffer.alloc(0);
  for await (const entry of zipEntries(part.file)) {
    if (entry.name !== part.entry) continue;
    for await (const piece of entry.stream()) {
      const skipped = Math.min(skip, piece.length);
      skip -= skipped;
      const bytes = Buffer.concat([rest, piece.subarray(skipped)]);
      const whole = bytes.length - (bytes.length % size);
      for (let at = 0; part.interleaved && at < whole; at += size)
        bytes.set(toPlanes(bytes.subarray(at, at + size), part.shape[0]), at);
      pixels.write(bytes.subarray(0, whole), position);
      position += whole;
      rest = bytes.subarray(whole);
      if (whole > 0) yield whole / size;
    }
    return;
  }
}
