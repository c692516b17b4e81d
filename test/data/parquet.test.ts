/** Hugging Face parquet, written with hyparquet-writer. */
import fs from "node:fs";
import path from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { expect, test } from "vitest";
import { openDataset, type Split } from "../../src/data/index.js";
import { plainPng, put, useTemporaryFolder } from "./make.js";

const at = useTemporaryFolder();
const open = (split: Split = "train") => openDataset({ name: "parquet", path: at("set"), split });

/** A shard as the `datasets` library writes it: `image` a struct of bytes and path, `label` a ClassLabel. */
function shard(file: string, images: readonly Uint8Array[], labels: readonly number[]): void {
  const features = { image: { _type: "Image" }, label: { _type: "ClassLabel", names: ["cat", "dog"] } };
  const buffer = parquetWriteBuffer({
    columnData: [
      { name: "image", data: images.map((bytes) => ({ bytes, path: null })) },
      { name: "label", data: labels.map(BigInt) },
    ],
    schema: [
      { name: "root", num_children: 2 },
      { name: "image", num_children: 2, repetition_type: "OPTIONAL" },
      { name: "bytes", type: "BYTE_ARRAY", repetition_type: "OPTIONAL" },
      { name: "path", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
      { name: "label", type: "INT64", repetition_type: "OPTIONAL" },
    ],
    rowGroupSize: 2,
    kvMetadata: [{ key: "huggingface", value: JSON.stringify({ info: { features } }) }],
  });
  put(at("set", file), new Uint8Array(buffer));
}

test("shards are read in the order of their names, row group by row group", async () => {
  const png = (red: number) => plainPng(1, [red, 1, 2]);
  shard("data/train-00001-of-00002.parquet", [await png(40)], [0]);
  shard("data/train-00000-of-00002.parquet", [await png(10), await png(20), await png(30)], [1, 0, 1]);
  shard("data/test-00000-of-00001.parquet", [await png(50)], [1]);
  const train = await open();
  expect(train).toMatchObject({ shape: [3, 1, 1], length: 4, classes: ["cat", "dog"] });
  expect([...(train.labels ?? [])]).toEqual([1, 0, 1, 0]);
  const into = new Uint8Array(12);
  train.read([0, 1, 2, 3], into);
  expect([into[0], into[3], into[6], into[9]]).toEqual([10, 20, 30, 40]);
  expect((await open("test")).length).toBe(1);
  await expect(open("validation")).rejects.toThrow(/it has train, test/);
});

test("shards in folders named after their split; those of other folders are another set's", async () => {
  shard("train/0000.parquet", [await plainPng(1, [1, 2, 3])], [0]);
  shard("validation/0000.parquet", [await plainPng(1, [4, 5, 6])], [1]);
  shard("other/train-0.parquet", [await plainPng(1, [7, 8, 9])], [1]);
  expect((await open()).length).toBe(1);
  expect([...((await open("validation")).labels ?? [])]).toEqual([1]);
});

test("damage is named with file and row", async () => {
  const png = await plainPng(1, [1, 2, 3]);
  shard("train-0.parquet", [png, png, Buffer.from("no image")], [0, 0, 0]);
  await expect(open()).rejects.toThrow(/train-0\.parquet: row 2: expected a PNG or JPEG image/);
  const file = at("set/train-0.parquet");
  fs.writeFileSync(file, fs.readFileSync(file).subarray(0, 60));
  await expect(open()).rejects.toThrow(/train-0\.parquet: expected whole parquet data/);
  const other = parquetWriteBuffer({ columnData: [{ name: "text", data: ["a"], type: "STRING" }] });
  fs.writeFileSync(path.join(file), new Uint8Array(other));
  await expect(open()).rejects.toThrow(
    /expected a column of images, a struct with "bytes", found columns text/,
  );
});
