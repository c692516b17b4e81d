/** npz archives, made after NumPy's description of npy. */
import { expect, test } from "vitest";
import { openDataset, type Split } from "../../src/data/index.js";
import { npyFile, put, useTemporaryFolder, zipFile } from "./make.js";

const at = useTemporaryFolder();
const open = (path: string, split: Split = "train", name = "npz") => openDataset({ name, path, split });
const bytes = (...values: number[]) => Uint8Array.from(values);
const int64 = (...values: number[]) => new Uint8Array(BigInt64Array.from(values, BigInt).buffer);

test.each(["stored", "deflated"] as const)("arr_0 of [N, H, W, C] becomes planes (%s)", async (method) => {
  const arr_0 = npyFile("|u1", [2, 1, 2, 3], bytes(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
  put(at("set.npz"), zipFile({ "arr_0.npy": arr_0, "arr_1.npy": npyFile("<i8", [2], int64(5, 3)) }, method));
  const source = await open(at("set.npz"));
  expect(source).toMatchObject({ shape: [3, 1, 2], length: 2 });
  expect([...(source.labels ?? [])]).toEqual([5, 3]);
  const into = new Uint8Array(12);
  source.read([1, 0], into);
  expect([...into]).toEqual([7, 10, 8, 11, 9, 12, 1, 4, 2, 5, 3, 6]);
});

test("arrays that come in many pieces are put together", async () => {
  // 3,000 images of 7x5x3 are 315,000 bytes, several pieces of a stream that no image boundary divides.
  const data = Uint8Array.from({ length: 3000 * 105 }, (_, i) => (i * 17 + (i >> 8)) % 256);
  put(at("set.npz"), zipFile({ "arr_0.npy": npyFile("|u1", [3000, 7, 5, 3], data) }, "deflated"));
  const source = await open(at("set.npz"));
  const image = new Uint8Array(105);
  for (const index of [0, 624, 1248, 2999]) {
    source.read([index], image);
    const expected = Array.from(
      { length: 105 },
      (_, i) => data[index * 105 + (i % 35) * 3 + Math.floor(i / 35)],
    );
    expect([...image]).toEqual(expected);
  }
});

test("ImageNet's batches are concatenated in natural order, and their labels counted from 0", async () => {
  const batch = (value: number, label: number) =>
    zipFile({
      "data.npy": npyFile("|u1", [1, 3072], new Uint8Array(3072).fill(value)),
      "labels.npy": npyFile("<i8", [1], int64(label)),
    });
  put(at("set/train_data_batch_10.npz"), batch(10, 1000));
  put(at("set/train_data_batch_2.npz"), batch(2, 1));
  put(at("set/val_data.npz"), batch(99, 500));
  const source = await open(at("set"), "train", "imagenet32");
  expect(source).toMatchObject({ shape: [3, 32, 32], length: 2 });
  expect([...(source.labels ?? [])]).toEqual([0, 999]);
  const into = new Uint8Array(2 * 3072);
  source.read([0, 1], into);
  expect([into[0], into[3072]]).toEqual([2, 10]);
  expect((await open(at("set"), "validation", "imagenet32")).length).toBe(1);
  // The same files under the name of the other set: their labels stay as they are, and so the sets differ.
  const old = await open(at("set"), "train", "imagenet32-old");
  expect(old.fingerprint).not.toBe(source.fingerprint);
});

test.each([
  [
    "float images",
    { "arr_0.npy": npyFile("<f4", [1, 1, 1, 3], new Uint8Array(12)) },
    /array "arr_0": expected uint8 images.*found <f4 of shape \[1, 1, 1, 3\]/,
  ],
  [
    "a short array",
    { "arr_0.npy": npyFile("|u1", [2, 1, 1, 3], bytes(1, 2, 3)) },
    /array "arr_0": expected 134 bytes for 2 x 1 x 1 x 3, found 131/,
  ],
  ["no array", { "arr_0.npy": Buffer.from("not an array") }, /expected a NumPy array/],
  [
    "no images",
    { "weights.npy": npyFile("|u1", [1], bytes(1)) },
    /expected an array arr_0, data, images of images, found weights/,
  ],
  [
    "labels of another count",
    {
      "arr_0.npy": npyFile("|u1", [1, 1, 1, 3], bytes(1, 2, 3)),
      "arr_1.npy": npyFile("<i8", [2], int64(1, 2)),
    },
    /expected 1 labels, one an image, found 2/,
  ],
])("%s: the file and the array are named", async (_, files, message) => {
  put(at("bad.npz"), zipFile(files));
  await expect(open(at("bad.npz"))).rejects.toMatchObject({
    name: "UserError",
    message: expect.stringMatching(message),
  });
});
