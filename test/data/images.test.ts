/** Folders and archives of images: splits, classes, order, grey, crop and resize, and damage. */
import fs from "node:fs";
import zlib from "node:zlib";
import sharp from "sharp";
import { expect, test } from "vitest";
import { type ImageSource, imageBytes, openDataset, type Split } from "../../src/data/index.js";
import { plainPng, pngFile, put, tarFile, useTemporaryFolder, zipFile } from "./make.js";

const at = useTemporaryFolder();
const open = (path: string, split: Split = "train", size?: number) =>
  openDataset({ name: "images", path, split, size });

function all(source: ImageSource): number[] {
  const into = new Uint8Array(source.length * imageBytes(source.shape));
  source.read(
    Array.from({ length: source.length }, (_, i) => i),
    into,
  );
  return [...into];
}

/** Two splits of two classes; each image is of one colour, 1x1, its red the value to tell it by. */
async function twoSplits(): Promise<Record<string, Buffer>> {
  const reds: Record<string, number> = {
    "set/train/dog/0.png": 40,
    "set/train/cat/10.png": 20,
    "set/train/cat/2.png": 10,
    "set/test/dog/1.png": 50,
    "set/val/cat/1.png": 60,
  };
  const files: Record<string, Buffer> = {
    "set/readme.txt": Buffer.from("no image"),
    "__MACOSX/._x.png": Buffer.from(""),
  };
  for (const [name, red] of Object.entries(reds)) files[name] = await plainPng(1, [red, 1, 2]);
  return files;
}

test("folder, zip, tar and tar.gz hold the same set", async () => {
  const files = await twoSplits();
  for (const [name, bytes] of Object.entries(files)) put(at("folder", name), bytes);
  put(at("set.zip"), zipFile(files, "deflated"));
  put(at("set.tar"), await tarFile(files));
  put(at("set.tar.gz"), zlib.gzipSync(await tarFile(files)));
  for (const place of ["folder", "set.zip", "set.tar", "set.tar.gz"]) {
    const train = await open(at(place));
    expect(train, place).toMatchObject({ shape: [3, 1, 1], length: 3, classes: ["cat", "dog"] });
    // Natural order inside a class: 2 before 10.
    expect(all(train), place).toEqual([10, 1, 2, 20, 1, 2, 40, 1, 2]);
    expect([...(train.labels ?? [])], place).toEqual([0, 0, 1]);
    // Class numbers are those of the whole set, also where a split lacks a class.
    const test = await open(at(place), "test");
    expect([...all(test), ...(test.labels ?? [])], place).toEqual([50, 1, 2, 1]);
    expect((await open(at(place), "validation")).length, place).toBe(1);
  }
});

test("without split folders everything is train, and a class may be called train", async () => {
  put(at("flat/a/1.png"), await plainPng(1, [1, 2, 3]));
  put(at("flat/a/2.png"), await plainPng(1, [4, 5, 6]));
  const flat = await open(at("flat"));
  expect(flat.length).toBe(2);
  expect(flat.labels).toBeUndefined();
  await expect(open(at("flat"), "test")).rejects.toThrow(/has no test split in .*; it has train/);
  put(at("vehicles/train/train/1.png"), await plainPng(1, [1, 2, 3]));
  put(at("vehicles/train/bus/1.png"), await plainPng(1, [1, 2, 3]));
  expect((await open(at("vehicles"))).classes).toEqual(["bus", "train"]);
});

test("one archive a split", async () => {
  put(at("set/train_1x1.tar"), await tarFile({ "train_1x1/0.png": await plainPng(1, [1, 2, 3]) }));
  put(at("set/valid_1x1.tar"), await tarFile({ "valid_1x1/0.png": await plainPng(1, [4, 5, 6]) }));
  expect(all(await open(at("set")))).toEqual([1, 2, 3]);
  expect(all(await open(at("set"), "validation"))).toEqual([4, 5, 6]);
  await expect(open(at("set"), "test")).rejects.toThrow(/it has train, validation/);
});

test("pixels come in planes; one channel only where all images are grey", async () => {
  put(at("colour/0.png"), await pngFile(2, 1, [7, 9]));
  put(at("colour/1.png"), await pngFile(2, 1, [1, 2, 3, 4, 5, 6]));
  const colour = await open(at("colour"));
  expect(colour.shape).toEqual([3, 1, 2]);
  expect(all(colour)).toEqual([7, 9, 7, 9, 7, 9, 1, 4, 2, 5, 3, 6]);
  put(at("grey/0.png"), await pngFile(2, 1, [7, 9]));
  put(at("grey/1.png"), await pngFile(2, 1, [0, 255]));
  const grey = await open(at("grey"));
  expect(grey.shape).toEqual([1, 1, 2]);
  expect(all(grey)).toEqual([7, 9, 0, 255]);
});

test("images that differ in size are named unless a size is given, then cropped at the centre and resized", async () => {
  // Left and right thirds black: the centre square of 6x2 is all white.
  const black = [0, 0, 0];
  const white = [255, 255, 255];
  const row = [black, black, white, white, black, black].flat();
  put(at("set/0.png"), await plainPng(4, [9, 8, 7]));
  put(at("set/1.png"), await pngFile(6, 2, [...row, ...row]));
  await expect(open(at("set"))).rejects.toThrow(
    /set\/1\.png: expected 4x4 pixels as in .*0\.png, found 6x2; give a size/,
  );
  const sized = await open(at("set"), "train", 2);
  expect(sized.shape).toEqual([3, 2, 2]);
  expect(all(sized)).toEqual([9, 9, 9, 9, 8, 8, 8, 8, 7, 7, 7, 7, ...new Array(12).fill(255)]);
});

test("JPEG is decoded, transparency dropped", async () => {
  const jpeg = await sharp({
    create: { width: 8, height: 8, channels: 3, background: { r: 128, g: 128, b: 128 } },
  })
    .jpeg({ quality: 100 })
    .toBuffer();
  put(at("jpeg/0.JPEG"), jpeg);
  // A constant grey block has one coefficient only, which quality 100 keeps exactly.
  expect(new Set(all(await open(at("jpeg"))))).toEqual(new Set([128]));
  const rgba = sharp(Uint8Array.from([1, 2, 3, 0]), { raw: { width: 1, height: 1, channels: 4 } });
  put(at("alpha/0.png"), await rgba.png().toBuffer());
  expect(all(await open(at("alpha")))).toEqual([1, 2, 3]);
});

test("damage is named with archive and entry, and leaves nothing in the cache", async () => {
  const good = await plainPng(16, [1, 2, 3]);
  const noise = await pngFile(
    16,
    16,
    Array.from({ length: 768 }, (_, i) => (i * i * 31) % 256),
  );
  put(at("cut.zip"), zipFile({ "a/0.png": good, "a/1.png": noise.subarray(0, noise.length >> 1) }));
  await expect(open(at("cut.zip"))).rejects.toThrow(
    /cut\.zip: a\/1\.png: expected a PNG or JPEG image, but it cannot be decoded/,
  );
  const flipped = zipFile({ "a/0.png": good });
  flipped[60] = (flipped[60] as number) ^ 1;
  put(at("flipped.zip"), flipped);
  await expect(open(at("flipped.zip"))).rejects.toThrow(
    /flipped\.zip: entry "a\/0\.png": expected CRC-32 [0-9a-f]{8}, found/,
  );
  put(at("short.zip"), flipped.subarray(0, 80));
  await expect(open(at("short.zip"))).rejects.toThrow(/short\.zip: expected a whole zip archive/);
  put(at("short.tar"), (await tarFile({ "a/0.png": noise })).subarray(0, 700));
  await expect(open(at("short.tar"))).rejects.toThrow(
    /short\.tar: expected a whole tar archive, but it breaks off/,
  );
  put(at("none.zip"), zipFile({ "a.txt": good }));
  await expect(open(at("none.zip"))).rejects.toThrow(/none\.zip: expected PNG or JPEG images, found none/);
  expect(fs.readdirSync(at("cache/varidiff/data"))).toEqual([]);
});

test("CelebA's splits are its official ranges of file numbers", async () => {
  for (const number of ["000001", "162770", "162771", "182637", "182638"])
    put(at(`celeba/img_align_celeba/${number}.jpg`), await plainPng(2, [1, 2, 3]));
  const count = async (split: Split) =>
    (await openDataset({ name: "celeba", path: at("celeba"), split, size: 2 })).length;
  expect([await count("train"), await count("validation"), await count("test")]).toEqual([2, 2, 1]);
});
