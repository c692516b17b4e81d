/** CIFAR-10's binary batches (cs.toronto.edu/~kriz/cifar.html, "binary version"): lossless, labelled. */
import fs from "node:fs";
import path from "node:path";
import { UserError } from "../errors.js";
import { isArchive, openContainer } from "./archive.js";
import { type Format, missingSplit } from "./format.js";
import { memorySource, type Split } from "./source.js";

const shape = [3, 32, 32] as const;
const pixelBytes = 3 * 32 * 32;
/** One byte of label, then the red, green and blue planes. */
const recordBytes = 1 + pixelBytes;
const folderName = "cifar-10-batches-bin";
const trainBatches = [1, 2, 3, 4, 5].map((i) => `data_batch_${i}.bin`);
const batches = new Map<Split, readonly string[]>([
  ["train", trainBatches],
  ["test", ["test_batch.bin"]],
]);

/** A folder of batches, a folder that holds `cifar-10-batches-bin`, or the archive of it. */
export const cifar: Format = {
  name: "cifar",
  describes: "CIFAR-10's binary batches (cifar-10-binary.tar.gz, or its folder with data_batch_1.bin)",
  recognises(place) {
    if (!fs.statSync(place).isDirectory()) return isArchive(place);
    return presentSplits(fs.readdirSync(batchFolder(place))).length > 0;
  },
  async splits(place) {
    const names = await openContainer(batchFolder(place)).list();
    return presentSplits(names.map((name) => path.posix.basename(name)));
  },
  async open(request) {
    const { name, path: origin, split } = request;
    const wanted = batches.get(split);
    if (!wanted) throw missingSplit(request, await cifar.splits(origin));
    const { files, classes } = await readBatches(batchFolder(origin), wanted);
    const missing = wanted.filter((file) => !files.has(file));
    if (missing.length > 0)
      throw new UserError(
        `${origin}: expected CIFAR-10's ${wanted.join(", ")}, but ${missing.join(", ")} is missing`,
      );
    const records = wanted.map((file) => checkedBatch(files.get(file) as Buffer, path.join(origin, file)));
    const length = records.reduce((sum, batch) => sum + batch.length / recordBytes, 0);
    const pixels = new Uint8Array(length * pixelBytes);
    const labels = new Uint8Array(length);
    let at = 0;
    for (const batch of records)
      for (let start = 0; start < batch.length; start += recordBytes, at++) {
        labels[at] = batch[start] as number;
        pixels.set(batch.subarray(start + 1, start + recordBytes), at * pixelBytes);
      }
    return memorySource({ name, split, origin, shape, length, labels, ...(classes && { classes }) }, pixels);
  },
};

function batchFolder(place: string): string {
  const inner = path.join(place, folderName);
  return fs.existsSync(inner) ? inner : place;
}

function presentSplits(names: readonly string[]): Split[] {
  return [...batches]
    .filter(([, files]) => files.some((file) => names.includes(file)))
    .map(([split]) => split);
}

async function readBatches(place: string, wanted: readonly string[]) {
  const container = openContainer(place);
  const meta = "batches.meta.txt";
  const inside = (await container.list()).filter((name) =>
    [...wanted, meta].includes(path.posix.basename(name)),
  );
  const files = new Map<string, Buffer>();
  for await (const { name, bytes } of container.files(new Set(inside)))
    files.set(path.posix.basename(name), bytes);
  const classes = files.get(meta)?.toString("utf8").split(/\s+/).filter(Boolean);
  return { files, classes };
}

function checkedBatch(batch: Buffer, file: string): Buffer {
  if (batch.length === 0 || batch.length % recordBytes !== 0)
    throw new UserError(
      `${file}: expected records of ${recordBytes} bytes, but it breaks off at byte ${batch.length} ` +
        `in record ${Math.floor(batch.length / recordBytes)}; fetch the file again`,
    );
  for (let start = 0; start < batch.length; start += recordBytes)
    if ((batch[start] as number) > 9)
      throw new UserError(
        `${file}: expected a label from 0 to 9 at byte ${start} (record ${start / recordBytes}), ` +
          `found ${batch[start]}; fetch the file again`,
      );
  return batch;
}
