/** Augmentation: every transform on an image small enough to write down, and when an image counts as augmented. */
import { expect, test } from "vitest";
import { augment, drawsPerImage } from "../../src/data/index.js";

//   1 2 3
//   4 5 6     turned by k quarters against the clock as np.rot90(image, k) does
//   7 8 9
const image = [1, 2, 3, 4, 5, 6, 7, 8, 9];
const no = 0.9;
const yes = 0.1;

function one(
  draws: readonly number[],
  kind: "flip-rotate" | "flip-rotate-channels" = "flip-rotate",
  pixels: readonly number[] = image,
  shape: readonly [number, number, number] = [1, 3, 3],
): { pixels: number[]; applied: number[] } {
  const bytes = Uint8Array.from(pixels);
  const applied = augment(bytes, shape, kind, draws);
  return { pixels: [...bytes], applied: [...applied] };
}

test.each([
  { what: "nothing", draws: [no, no, 0, 0, 0], result: image, applied: 0 },
  { what: "mirrored", draws: [yes, no, 0, 0, 0], result: [3, 2, 1, 6, 5, 4, 9, 8, 7], applied: 1 },
  { what: "a quarter", draws: [no, yes, 0.2, 0, 0], result: [3, 6, 9, 2, 5, 8, 1, 4, 7], applied: 1 },
  { what: "a half", draws: [no, yes, 0.5, 0, 0], result: [9, 8, 7, 6, 5, 4, 3, 2, 1], applied: 1 },
  { what: "three quarters", draws: [no, yes, 0.9, 0, 0], result: [7, 4, 1, 8, 5, 2, 9, 6, 3], applied: 1 },
  {
    what: "mirrored, then a quarter",
    draws: [yes, yes, 0.2, 0, 0],
    result: [1, 4, 7, 2, 5, 8, 3, 6, 9],
    applied: 1,
  },
  {
    what: "a draw of exactly 0 turns by one quarter",
    draws: [no, yes, 0, 0, 0],
    result: [3, 6, 9, 2, 5, 8, 1, 4, 7],
    applied: 1,
  },
])("$what", ({ draws, result, applied }) => {
  expect(one(draws)).toEqual({ pixels: result, applied: [applied] });
});

test("an image that is not square is turned by a half alone", () => {
  for (const u of [0.1, 0.5, 0.9])
    expect(one([no, yes, u, 0, 0], "flip-rotate", [1, 2, 3, 4, 5, 6], [1, 2, 3]).pixels).toEqual([
      6, 5, 4, 3, 2, 1,
    ]);
});

test("channels are permuted in all six ways, and the identity counts as applied", () => {
  const rgb = [1, 1, 2, 2, 3, 3];
  const seen = [0, 1, 2, 3, 4, 5].map((k) =>
    one([no, no, 0, yes, (k + 0.5) / 6], "flip-rotate-channels", rgb, [3, 1, 2]),
  );
  expect(seen.map(({ pixels }) => [pixels[0], pixels[2], pixels[4]].join("")).sort()).toEqual([
    "123",
    "132",
    "213",
    "231",
    "312",
    "321",
  ]);
  expect(seen.flatMap(({ applied }) => applied)).toEqual([1, 1, 1, 1, 1, 1]);
  const kept = one([no, no, 0, yes, 0.9], "flip-rotate", rgb, [3, 1, 2]);
  expect(kept).toEqual({ pixels: rgb, applied: [0] });
});

test("each image of a batch follows its own draws", () => {
  const draws = [
    [no, no, 0, 0, 0],
    [yes, no, 0, 0, 0],
    [no, no, 0, 0, 0],
  ];
  expect(draws.every((row) => row.length === drawsPerImage)).toBe(true);
  const batch = one(draws.flat(), "flip-rotate", [1, 2, 3, 4, 5, 6], [1, 1, 2]);
  expect(batch).toEqual({ pixels: [1, 2, 4, 3, 5, 6], applied: [0, 1, 0] });
});
