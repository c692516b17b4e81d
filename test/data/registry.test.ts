/** Finding, registering, listing and checking data sets, and the cache of decoded images. */
import fs from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { addDataset, catalogue, checkDataset, listDatasets, openDataset } from "../../src/data/index.js";
import { idxFile, plainPng, put, useTemporaryFolder, zipFile } from "./make.js";

const at = useTemporaryFolder();
afterEach(() => {
  vi.restoreAllMocks();
});

const mnist = (folder: string, value = 0) =>
  put(path.join(folder, "train-images-idx3-ubyte"), idxFile([1, 28, 28], new Array(784).fill(value)));
const originOf = async (name: string, given?: string) =>
  (await openDataset({ name, split: "train", path: given })).origin;

describe("where a data set is looked for", () => {
  test("path, then registered, then VARIDIFF_DATA", async () => {
    for (const name of ["given", "registered", "data/mnist"]) mnist(at(name));
    process.env.VARIDIFF_DATA = at("data");
    expect(await originOf("mnist")).toBe(at("data/mnist"));
    await addDataset("mnist", at("registered"));
    expect(await originOf("mnist")).toBe(at("registered"));
    expect(await originOf("mnist", at("given"))).toBe(at("given"));
  });

  test("VARIDIFF_DATA may be the folder of the set itself, but not that of another set", async () => {
    mnist(at("anything"));
    process.env.VARIDIFF_DATA = at("anything");
    expect(await originOf("mnist")).toBe(at("anything"));
    mnist(at("fashion-mnist"));
    process.env.VARIDIFF_DATA = at("fashion-mnist");
    await expect(openDataset({ name: "mnist", split: "train" })).rejects.toThrow(/"mnist" was not found/);
  });

  test("archives and folders under other names", async () => {
    process.env.VARIDIFF_DATA = at("data");
    put(at("data/own.zip"), zipFile({ "1.png": await plainPng(1, [1, 2, 3]) }));
    expect(await originOf("own")).toBe(at("data/own.zip"));
    mnist(at("data/FashionMNIST/raw"));
    expect(await originOf("fashion-mnist")).toBe(at("data/FashionMNIST"));
  });

  test("missing data: what, where, and how to get it", async () => {
    process.env.VARIDIFF_DATA = at("data");
    const error = await openDataset({ name: "cifar10", split: "train" }).catch((caught) => caught);
    expect(error.name).toBe("UserError");
    expect(error.message).not.toContain("\n");
    for (const part of [
      '"cifar10"',
      at("data/cifar10"),
      at("data/cifar10.zip"),
      "cifar-10-binary.tar.gz from",
    ])
      expect(error.message).toContain(part);
    await expect(openDataset({ name: "cifar01", split: "train" })).rejects.toThrow(
      /unknown.*did you mean "cifar10"/,
    );
    await expect(openDataset({ name: "mnist", path: at("nowhere"), split: "train" })).rejects.toThrow(
      /was not found; looked in .*nowhere/,
    );
  });

  test("data of another kind or shape than the name says is refused", async () => {
    put(at("folder/1.png"), await plainPng(32, [1, 2, 3]));
    await expect(openDataset({ name: "cifar10", path: at("folder"), split: "train" })).rejects.toThrow(
      /folder: expected .*CIFAR-10's binary batches.*found nothing of the kind/,
    );
    put(at("small/1.png"), await plainPng(8, [1, 2, 3]));
    await expect(openDataset({ name: "cifar10-jpeg", path: at("small"), split: "train" })).rejects.toThrow(
      /expected 3x32x32 images of data set "cifar10-jpeg", found 3x8x8/,
    );
  });
});

describe("registered sets", () => {
  test("are listed, with the known ones", async () => {
    mnist(at("set"));
    expect(await addDataset("cats", at("set"))).toBe(at("set"));
    const listed = listDatasets();
    expect(listed.find(({ name }) => name === "cats")).toMatchObject({ found: at("set"), by: "registered" });
    expect(listed.find(({ name }) => name === "imagenet32-old")?.found).toBeUndefined();
    expect(new Set(catalogue.map(({ name }) => name)).size).toBe(catalogue.length);
  });

  test("what cannot be read is not registered", async () => {
    await expect(addDataset("cats", at("nowhere"))).rejects.toThrow(
      /nowhere: expected a data set, but there is no such/,
    );
    put(at("empty/readme.txt"), "nothing");
    await expect(addDataset("cats", at("empty"))).rejects.toThrow(/found nothing of the kind/);
    await expect(addDataset("images", at("empty"))).rejects.toThrow(/name of a format/);
    await expect(addDataset("../x", at("empty"))).rejects.toThrow(/expected a name/);
    put(at("jpegs.zip"), zipFile({ "a/1.png": await plainPng(32, [1, 2, 3]) }));
    await expect(addDataset("cifar10", at("jpegs.zip"))).rejects.toThrow(
      /jpegs\.zip: expected CIFAR-10's binary batches/,
    );
    expect(listDatasets().some(({ by }) => by === "registered")).toBe(false);
    put(at("config/varidiff/data.json"), "[1]");
    expect(() => listDatasets()).toThrow(/data\.json: expected a JSON object of names and paths/);
  });
});

test("checkDataset reads every image of every split", async () => {
  put(at("set/train-images-idx3-ubyte"), idxFile([2, 1, 2], [0, 0, 255, 255]));
  put(at("set/train-labels-idx1-ubyte"), idxFile([2], [4, 4]));
  put(at("set/t10k-images-idx3-ubyte"), idxFile([1, 1, 2], [127, 128]));
  const { format, splits } = await checkDataset("idx", { path: at("set") });
  expect(format).toBe("idx");
  expect(splits).toMatchObject([
    // (2 * 0.5 / 256 - 1)^2 = (255 / 256)^2 for 0 and for 255; (1 / 256)^2 for 127 and 128.
    { split: "train", images: 2, shape: [1, 1, 2], meanSquare: (255 / 256) ** 2, classCounts: { 4: 2 } },
    { split: "test", images: 1, meanSquare: (1 / 256) ** 2, classCounts: {} },
  ]);
});

test("another size is made once, with crop and labels", async () => {
  const column = [0, 0, 200, 200, 0, 0];
  put(at("set/train-images-idx3-ubyte"), idxFile([1, 2, 6], [...column, ...column]));
  put(at("set/train-labels-idx1-ubyte"), idxFile([1], [3]));
  const source = await openDataset({ name: "idx", path: at("set"), split: "train", size: 4 });
  expect(source).toMatchObject({ shape: [1, 4, 4], length: 1, labels: Int32Array.of(3) });
  const into = new Uint8Array(16);
  source.read([0], into);
  // The centre square of 2x2 is all 200, and a constant stays constant at any size.
  expect(new Set(into)).toEqual(new Set([200]));
});

describe("the cache of decoded images", () => {
  const open = () => openDataset({ name: "images", path: at("set.zip"), split: "train" });
  const cache = () => at("cache/varidiff/data");
  const putSet = async (red: number) =>
    put(at("set.zip"), zipFile({ "1.png": await plainPng(2, [red, 2, 3]) }));

  test("is used again until the archive changes", async () => {
    await putSet(1);
    const progress = vi.fn();
    const first = await openDataset({
      name: "images",
      path: at("set.zip"),
      split: "train",
      onProgress: progress,
    });
    expect(progress).toHaveBeenLastCalledWith(1, 1);
    progress.mockClear();
    await openDataset({ name: "images", path: at("set.zip"), split: "train", onProgress: progress });
    expect(progress).not.toHaveBeenCalled();
    await putSet(9);
    fs.utimesSync(at("set.zip"), 1, 1);
    expect((await open()).fingerprint).not.toBe(first.fingerprint);
  });

  test("is made again where a file of it is cut short", async () => {
    await putSet(1);
    const { fingerprint } = await open();
    const [folder = ""] = fs.readdirSync(cache());
    fs.truncateSync(path.join(cache(), folder, "pixels.bin"), 5);
    expect((await open()).fingerprint).toBe(fingerprint);
    expect(fs.statSync(path.join(cache(), folder, "pixels.bin")).size).toBe(12);
  });

  test("a full disk at any write is reported and leaves nothing half made", async () => {
    await putSet(1);
    const write = fs.writeSync;
    let writes = 0;
    const failAt = (k: number) =>
      vi.spyOn(fs, "writeSync").mockImplementation(((...args: Parameters<typeof write>) => {
        if (writes++ === k)
          throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
        return write(...args);
      }) as typeof write);
    for (let k = 0; ; k++) {
      writes = 0;
      const spy = failAt(k);
      const outcome = await open().catch((error) => error);
      spy.mockRestore();
      if (!(outcome instanceof Error)) {
        expect(k).toBeGreaterThanOrEqual(2);
        break;
      }
      expect(outcome).toMatchObject({
        name: "UserError",
        message: expect.stringMatching(/ENOSPC.*VARIDIFF_CACHE/),
      });
      expect(fs.readdirSync(cache())).toEqual([]);
    }
  });

  test("what a killed run left goes after an hour, what another is writing stays", async () => {
    await putSet(1);
    const old = put(path.join(cache(), "a.tmp-1", "pixels.bin"), "half");
    fs.utimesSync(old, 1, 1);
    put(path.join(cache(), "b.tmp-2", "pixels.bin"), "half");
    await open();
    expect(fs.readdirSync(cache()).filter((name) => name.includes(".tmp-"))).toEqual(["b.tmp-2"]);
  });
});
