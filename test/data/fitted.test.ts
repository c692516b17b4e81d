/** Images of one shape as a model of another takes them: channels, padding and sizes by hand. */
import { expect, test } from "vitest";
import {
  fitted,
  type ImageShape,
  type ImageSource,
  imageBytes,
  memorySource,
  openDataset,
} from "../../src/data/index.js";
import { UserError } from "../../src/errors.js";
import { idxFile, put, useTemporaryFolder } from "./make.js";

const at = useTemporaryFolder();

const source = (shape: ImageShape, pixels: readonly number[]): ImageSource => {
  const length = pixels.length / imageBytes(shape);
  const labels = Uint8Array.from({ length }, (_, i) => 7 + i);
  return memorySource(
    { name: "toy", split: "test", shape, length, origin: at(), labels, classes: ["a", "b"] },
    Uint8Array.from(pixels),
  );
};

function read(from: ImageSource, ...indices: number[]): number[] {
  const into = new Uint8Array(indices.length * imageBytes(from.shape));
  from.read(indices, into);
  return [...into];
}

test("what fits as it is stays as it is", async () => {
  const set = source([1, 1, 2], [1, 2, 3, 4]);
  const same = await fitted(set, [1, 1, 2]);
  expect(same).toMatchObject({ adaptation: "none", fingerprint: set.fingerprint, shape: [1, 1, 2] });
  expect(read(same, 1, 0)).toEqual([3, 4, 1, 2]);
});

test("grey is repeated; labels, names and order stay", async () => {
  const set = source([1, 1, 2], [1, 2, 3, 4]);
  const colour = await fitted(set, [3, 1, 2]);
  expect(colour).toMatchObject({
    ...{ name: "toy", split: "test", shape: [3, 1, 2], length: 2, origin: at() },
    ...{ labels: Uint8Array.of(7, 8), classes: ["a", "b"], adaptation: "grey repeated to 3 channels" },
  });
  expect(read(colour, 1, 0)).toEqual([3, 4, 3, 4, 3, 4, 1, 2, 1, 2, 1, 2]);
});

test("colour becomes its luma: 0.299 R + 0.587 G + 0.114 B, rounded", async () => {
  // Red, green, blue, white, grey 77, and (0, 0, 4): 76.245, 149.685, 29.07, 255, 77, 0.456; with (0, 0, 5): 0.57.
  const [r, g, b] = [
    [255, 0, 0, 255, 77, 0, 0],
    [0, 255, 0, 255, 77, 0, 0],
    [0, 0, 255, 255, 77, 4, 5],
  ] as const;
  const grey = await fitted(source([3, 1, 7], [...r, ...g, ...b]), [1, 1, 7]);
  expect(grey.adaptation).toBe("colour turned to grey by luma (ITU-R BT.601)");
  expect(read(grey, 0)).toEqual([76, 150, 29, 255, 77, 0, 1]);
});

test("smaller images are padded evenly, an odd row and column below and to the right", async () => {
  const padded = await fitted(source([1, 1, 2], [1, 2, 3, 4]), [1, 4, 5]);
  expect(padded.adaptation).toBe("padded from 2x1 to 5x4");
  const rows = [
    [0, 0, 0, 0, 0],
    [0, 3, 4, 0, 0],
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0],
  ];
  expect(read(padded, 1)).toEqual(rows.flat());
});

test("size and channels together", async () => {
  const both = await fitted(source([1, 1, 1], [9, 5]), [3, 2, 2]);
  expect(both.adaptation).toBe("padded from 1x1 to 2x2, grey repeated to 3 channels");
  expect(read(both, 0, 1)).toEqual([9, 5].flatMap((v) => [v, 0, 0, 0, v, 0, 0, 0, v, 0, 0, 0]));
  const grey = await fitted(source([3, 1, 1], [255, 0, 0, 0, 255, 0]), [1, 1, 2]);
  expect(read(grey, 0, 1)).toEqual([76, 0, 150, 0]);
});

test("larger images are resized, as the data set at that size is", async () => {
  // Every second image is white; plain images stay plain under any kernel.
  const pixels = [...Array(64).fill(0), ...Array(64).fill(255)];
  put(at("set/t10k-images-idx3-ubyte"), idxFile([2, 8, 8], pixels));
  put(at("set/t10k-labels-idx1-ubyte"), idxFile([2], [4, 5]));
  const request = { name: "idx", path: at("set"), split: "test" } as const;
  const small = await fitted(await openDataset(request), [3, 4, 4]);
  expect(small.adaptation).toBe("resized from 8x8 to 4x4, grey repeated to 3 channels");
  expect(read(small, 1, 0)).toEqual([...Array(48).fill(255), ...Array(48).fill(0)]);
  const grey = await fitted(await openDataset(request), [1, 4, 4]);
  expect(grey.fingerprint).toBe((await openDataset({ ...request, size: 4 })).fingerprint);
});

test("images that are not square are cropped first; smaller ones are resized where that is asked for", async () => {
  const wide = source([1, 2, 6], [0, 0, 200, 200, 0, 0, 0, 0, 200, 200, 0, 0]);
  const cropped = await fitted(wide, [1, 4, 4]);
  expect(cropped.adaptation).toBe("cropped from 6x2 to 2x2, resized to 4x4");
  expect(read(cropped, 0)).toEqual(Array(16).fill(200));
  const plain = source([1, 2, 2], [50, 50, 50, 50]);
  const enlarged = await fitted(plain, [1, 4, 4], { fit: "resize" });
  expect(enlarged.adaptation).toBe("resized from 2x2 to 4x4");
  expect(read(enlarged, 0)).toEqual(Array(16).fill(50));
});

test("every adaptation has a fingerprint of its own, the same each time", async () => {
  const set = source([1, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8]);
  const shapes: readonly ImageShape[] = [
    [1, 2, 2],
    [3, 2, 2],
    [1, 4, 4],
    [1, 3, 4],
    [3, 4, 4],
  ];
  const fingerprints = async () =>
    Promise.all(shapes.map(async (shape) => (await fitted(set, shape)).fingerprint));
  const first = await fingerprints();
  expect(new Set(first).size).toBe(shapes.length);
  for (const fingerprint of first) expect(fingerprint).toMatch(/^[0-9a-f]{16}$/);
  expect(await fingerprints()).toEqual(first);
  const other = source([1, 2, 2], [1, 2, 3, 4, 5, 6, 7, 9]);
  expect((await fitted(other, [3, 2, 2])).fingerprint).not.toBe(first[1]);
});

test("reads outside the set or into too little room are range errors", async () => {
  const padded = await fitted(source([1, 1, 1], [1, 2]), [1, 2, 2]);
  expect(() => padded.read([2], new Uint8Array(4))).toThrow(RangeError);
  expect(() => padded.read([0, 1], new Uint8Array(7))).toThrow(RangeError);
});

test("what cannot be done is one line that says so", async () => {
  const refuses = async (from: ImageSource, shape: ImageShape, fit: "pad" | "resize", message: string) => {
    const attempt = fitted(from, shape, { fit });
    await expect(attempt).rejects.toThrow(UserError);
    await expect(attempt).rejects.toThrow(message);
  };
  const wide = source([1, 1, 4], [1, 2, 3, 4]);
  await refuses(
    wide,
    [1, 2, 2],
    "pad",
    'data set "toy": expected images of at most 2x2 pixels to pad, got 4x1',
  );
  await refuses(wide, [1, 1, 2], "resize", "expected a square to resize images to, got 2x1");
  await refuses(source([2, 1, 1], [1, 2]), [3, 1, 1], "pad", "expected images of 3 channels");
});
