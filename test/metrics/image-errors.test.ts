/** MS-SSIM and MAE of images whose values are closed forms. */
import { expect, test } from "vitest";
import { meanAbsoluteError, msSsim, similarityPerScale } from "../../src/metrics/index.js";
import { cat, Generator, liveTensors, rand, scope, stack, tensor } from "../../src/torch/index.js";
import { close } from "../golden.js";

/** Plain images of `shape` `[C, H, W]`, one of each value. */
const plain = (values: readonly number[], shape: readonly number[]) =>
  tensor([...values])
    .reshape([-1, 1, 1, 1])
    .expand([values.length, ...shape]);

test("plain images differ in luminance alone, at every size: ((2 m1 m2 + C1) / (m1^2 + m2^2 + C1))^0.1333", () => {
  for (const shape of [
    [1, 28, 28],
    [3, 17, 5],
    [2, 1, 1],
  ]) {
    const value = msSsim(plain([0.25, 0.5], shape), plain([0.75, 0.5], shape));
    const luminance = (2 * 0.25 * 0.75 + 1e-4) / (0.25 ** 2 + 0.75 ** 2 + 1e-4);
    close(value, [luminance ** 0.1333, 1], 1e-9, `${shape}`);
  }
});

test("images of many tiles, each by itself", () => {
  const values = Array.from({ length: 200 }, (_, i) => i / 200);
  const [shape, black] = [[3, 64, 64], values.map(() => 0)];
  const expected = values.map((m) => (1e-4 / (m ** 2 + 1e-4)) ** 0.1333);
  close(msSsim(plain(values, shape), plain(black, shape)), expected, 1e-7, "MS-SSIM"); // float32 values
  close(meanAbsoluteError(plain(values, shape), plain(black, shape)), values, 1e-7, "MAE");
});

test("1 for equal images, the same either way round; no less than 0 where one is the other's negative", () => {
  const [x, y] = rand([2, 3, 32, 32], new Generator({ seed: 1 })).split(1, 0) as [
    ReturnType<typeof rand>,
    ReturnType<typeof rand>,
  ];
  expect(msSsim(x, x).toArray()).toEqual([1]);
  expect(msSsim(x, y).item()).toBe(msSsim(y, x).item());
  const negative = x.rsub(1);
  expect(similarityPerScale(x, negative).cs.min().item()).toBeLessThan(0);
  expect(msSsim(x, negative).item()).toBe(0);
});

test("images and ranges scaled alike make no difference", () => {
  const [x, y] = [1, 2].map((seed) => rand([2, 1, 16, 16], new Generator({ seed }), { dtype: "float64" }));
  if (!x || !y) throw new Error("expected two images");
  close(msSsim(x.mul(255), y.mul(255), { range: 255 }), msSsim(x, y), 1e-9, "in bytes");
});

test("MAE by hand, over pixels and channels, on the scale of the images; bytes do not wrap", () => {
  const zero = plain([0, 0], [2, 1, 2]);
  const some = stack([tensor([[[1, -2]], [[3, 0]]]), tensor([[[0, 0]], [[0, 8]]])]);
  expect(meanAbsoluteError(zero, some).toArray()).toEqual([1.5, 2]);
  expect(meanAbsoluteError(zero.to("uint8"), plain([3, 255], [2, 1, 2]).to("uint8")).toArray()).toEqual([
    3, 255,
  ]);
});

test("shapes that differ are refused, though they could be broadcast", () => {
  const [one, two] = [plain([1], [1, 4, 4]), plain([1, 2], [1, 4, 4])];
  const message = "expected two tensors of images [N, C, H, W] of one shape";
  expect(() => meanAbsoluteError(one, two)).toThrow(message);
  expect(() => msSsim(cat([two, two], 1), two)).toThrow(message);
  expect(() => msSsim(one.select(0, 0), one.select(0, 0))).toThrow(message);
});

test("nothing is left behind but the result", () => {
  scope(() => {
    const x = rand([3, 1, 28, 28], new Generator({ seed: 1 }));
    const before = liveTensors();
    msSsim(x, x);
    expect(liveTensors()).toBe(before + 1);
    meanAbsoluteError(x, x);
    expect(liveTensors()).toBe(before + 2);
  });
});
