/** IDX: files made after the format's description, damage of each kind, and the real Fashion-MNIST. */
import fs from "node:fs";
import zlib from "node:zlib";
import { expect, test } from "vitest";
import { openDataset } from "../../src/data/index.js";
import { idxFile, put, useTemporaryFolder } from "./make.js";

const at = useTemporaryFolder();
const open = (split: "train" | "test" = "train") => openDataset({ name: "idx", path: at("set"), split });

test("images and labels are read, gzipped or plain, in any order of indices", async () => {
  put(at("set/train-images-idx3-ubyte.gz"), zlib.gzipSync(idxFile([3, 1, 2], [1, 2, 3, 4, 5, 6])));
  put(at("set/train-labels-idx1-ubyte"), idxFile([3], [7, 0, 9]));
  put(at("set/t10k-images.idx3-ubyte"), idxFile([1, 1, 2], [8, 9]));
  const source = await open();
  expect(source).toMatchObject({ shape: [1, 1, 2], length: 3, split: "train" });
  expect([...(source.labels ?? [])]).toEqual([7, 0, 9]);
  const into = new Uint8Array(4);
  source.read([2, 0], into);
  expect([...into]).toEqual([5, 6, 1, 2]);
  const test = await open("test");
  expect(test.length).toBe(1);
  expect(test.labels).toBeUndefined();
});

test("the fingerprint follows the content, not the container", async () => {
  const images = idxFile([1, 1, 2], [1, 2]);
  put(at("set/train-images-idx3-ubyte"), images);
  put(at("other/train-images-idx3-ubyte.gz"), zlib.gzipSync(images));
  put(at("third/train-images-idx3-ubyte"), idxFile([1, 1, 2], [1, 3]));
  const prints = await Promise.all(
    ["set", "other", "third"].map((name) => openDataset({ name: "idx", path: at(name), split: "train" })),
  );
  expect(prints[0]?.fingerprint).toMatch(/^[0-9a-f]{16}$/);
  expect(prints[1]?.fingerprint).toBe(prints[0]?.fingerprint);
  expect(prints[2]?.fingerprint).not.toBe(prints[0]?.fingerprint);
});

test("reading outside the set or into too little room is refused", async () => {
  put(at("set/train-images-idx3-ubyte"), idxFile([2, 1, 2], [1, 2, 3, 4]));
  const source = await open();
  expect(() => source.read([2], new Uint8Array(2))).toThrow(/image 2 is outside 0 to 1/);
  expect(() => source.read([0, 1], new Uint8Array(3))).toThrow(/2 images need 4 bytes/);
});

test.each([
  [
    "a wrong magic number",
    () => idxFile([1, 2], [1, 2]),
    /idx3-ubyte: expected the IDX magic number 0x00000803.*at byte 0, found 0x00000802/,
  ],
  [
    "a short file",
    () => idxFile([3, 1, 2], [1, 2, 3]),
    /expected 22 bytes for 3 x 1 x 2, found 19: cut short in item 1/,
  ],
  ["too long a file", () => idxFile([1, 1, 2], [1, 2, 3]), /expected 18 bytes for 1 x 1 x 2, found 19/],
  ["an empty file", () => Buffer.alloc(0), /magic number.*found 0 bytes in all/],
])("%s is named with its place", async (_, make, message) => {
  put(at("set/train-images-idx3-ubyte"), make());
  await expect(open()).rejects.toMatchObject({ name: "UserError", message: expect.stringMatching(message) });
});

test("damaged gzip data is named with its place", async () => {
  const whole = zlib.gzipSync(
    idxFile(
      [100, 2, 2],
      Array.from({ length: 400 }, (_, i) => (i * 7) % 251),
    ),
  );
  const file = put(at("set/train-images-idx3-ubyte.gz"), whole.subarray(0, whole.length - 40));
  await expect(open()).rejects.toThrow(
    new RegExp(
      `${file}: gzip data breaks off at byte ${whole.length - 40}, the end of the file, after \\d+ decompressed`,
    ),
  );
  put(file, Buffer.from("no gzip at all"));
  await expect(open()).rejects.toThrow(/expected gzip data, but: incorrect header check/);
});

test("counts of images and labels that differ are refused", async () => {
  put(at("set/train-images-idx3-ubyte"), idxFile([2, 1, 1], [1, 2]));
  put(at("set/train-labels-idx1-ubyte"), idxFile([3], [1, 2, 3]));
  await expect(open()).rejects.toThrow(/train-labels-idx1-ubyte: expected 2 labels, one an image, found 3/);
});

const fashion = "/usr/share/datasets/fashion-mnist";
test.skipIf(!fs.existsSync(fashion))("Fashion-MNIST has its documented counts", async () => {
  const source = await openDataset({ name: "fashion-mnist", split: "test" });
  expect(source).toMatchObject({ shape: [1, 28, 28], length: 10_000, origin: fashion });
  // zalandoresearch/fashion-mnist: 10 classes, 1,000 test images each; the first test image is an ankle boot (9).
  const counts = new Array(10).fill(0);
  for (const label of source.labels ?? []) counts[label]++;
  expect(counts).toEqual(new Array(10).fill(1000));
  expect(source.labels?.[0]).toBe(9);
  await expect(openDataset({ name: "fashion-mnist", split: "validation" })).rejects.toThrow(
    /no validation split in .*; it has train, test/,
  );
});
