/** CIFAR-10 binary batches, made after the description on its page. */
import zlib from "node:zlib";
import { expect, test } from "vitest";
import { openDataset } from "../../src/data/index.js";
import { put, tarFile, useTemporaryFolder } from "./make.js";

const at = useTemporaryFolder();

/** Records of a label and three planes; every byte of plane c of record i is `10 * i + c`. */
function batch(labels: readonly number[]): Buffer {
  return Buffer.concat(
    labels.map((label, i) =>
      Buffer.concat([Buffer.from([label]), ...[0, 1, 2].map((c) => Buffer.alloc(1024, 10 * i + c))]),
    ),
  );
}

const names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

function files(): Record<string, Buffer> {
  const train = [1, 2, 3, 4, 5].map((i) => [`data_batch_${i}.bin`, batch([i, 9])] as const);
  return {
    ...Object.fromEntries(train),
    "test_batch.bin": batch([0, 1, 2]),
    "batches.meta.txt": Buffer.from(`${names.join("\n")}\n\n`),
  };
}

test("a folder of batches gives planes, labels and class names, in the order of the batches", async () => {
  for (const [name, bytes] of Object.entries(files())) put(at("cifar-10-batches-bin", name), bytes);
  process.env.VARIDIFF_DATA = at();
  const train = await openDataset({ name: "cifar10", split: "train" });
  expect(train).toMatchObject({ shape: [3, 32, 32], length: 10, classes: names });
  expect([...(train.labels ?? [])]).toEqual([1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
  const image = new Uint8Array(3072);
  train.read([3], image);
  expect([image[0], image[1023], image[1024], image[3071]]).toEqual([10, 10, 11, 12]);
  expect((await openDataset({ name: "cifar10", split: "test" })).length).toBe(3);
  await expect(openDataset({ name: "cifar10", split: "validation" })).rejects.toThrow(/it has train, test/);
});

test("the archive holds the same images as the folder", async () => {
  for (const [name, bytes] of Object.entries(files())) put(at("set", name), bytes);
  const inside = Object.fromEntries(
    Object.entries(files()).map(([name, bytes]) => [`cifar-10-batches-bin/${name}`, bytes]),
  );
  put(at("cifar-10-binary.tar.gz"), zlib.gzipSync(await tarFile(inside)));
  const folder = await openDataset({ name: "cifar10", path: at("set"), split: "train" });
  const archive = await openDataset({ name: "cifar10", path: at("cifar-10-binary.tar.gz"), split: "train" });
  expect(archive.fingerprint).toBe(folder.fingerprint);
});

test("damage is named with file and place", async () => {
  const all = files();
  const open = () => openDataset({ name: "cifar10", path: at("set"), split: "test" });
  put(at("set/test_batch.bin"), (all["test_batch.bin"] as Buffer).subarray(0, 3073 + 100));
  await expect(open()).rejects.toThrow(
    /test_batch\.bin: expected records of 3073 bytes.*byte 3173 in record 1/,
  );
  put(at("set/test_batch.bin"), batch([3, 10]));
  await expect(open()).rejects.toThrow(/label from 0 to 9 at byte 3073 \(record 1\), found 10/);
  await expect(openDataset({ name: "cifar10", path: at("set"), split: "train" })).rejects.toThrow(
    /data_batch_1\.bin.*is missing/,
  );
  const archive = zlib.gzipSync(await tarFile({ "a/test_batch.bin": batch([3]) }));
  put(at("cut.tar.gz"), archive.subarray(0, archive.length - 20));
  await expect(openDataset({ name: "cifar10", path: at("cut.tar.gz"), split: "test" })).rejects.toThrow(
    /cut\.tar\.gz: expected a whole tar archive, but it breaks off/,
  );
});
