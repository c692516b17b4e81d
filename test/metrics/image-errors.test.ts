/** SSIM, MS-SSIM, MAE and RMSE of images whose values are closed forms. */
import { expect, test } from "vitest";
import {
  meanAbsoluteError,
  msSsim,
  rootMeanSquareError,
  similarityPerScale,
  ssim,
} from "../../src/metrics/index.js";
import { cat, Generator, liveTensors, rand, scope, stack, tensor } from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";
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

test("SSIM of plain images: (2 a b + C1) / (a^2 + b^2 + C1) with C1 = (0.01 range)^2; 1 for equal ones", () => {
  const [as, bs] = [
    [0.25, 0.5, 0],
    [0.75, 0.5, 1],
  ];
  for (const range of [1, 2]) {
    const c1 = (0.01 * range) ** 2;
    const expected = as.map((a, i) => {
      const b = bs[i] as number;
      return (2 * a * b + c1) / (a ** 2 + b ** 2 + c1);
    });
    close(ssim(plain(as, [3, 17, 12]), plain(bs, [3, 17, 12]), { range }), expected, 1e-9, `range ${range}`);
  }
  const x = rand([2, 3, 16, 16], new Generator({ seed: 4 }));
  close(ssim(x, x), [1, 1], 1e-12, "equal images");
});

test("SSIM of a dot in one window, with nothing and with its negative: known mean, variance and covariance", () => {
  const side = 11;
  const taps = Array.from({ length: side }, (_, i) => Math.exp(-((i - 5) ** 2) / (2 * 1.5 ** 2)));
  const mean = (1 / taps.reduce((sum, tap) => sum + tap, 0)) ** 2; // the window's weight at the dot
  const variance = mean - mean ** 2;
  const dot = tensor(
    Array.from({ length: side }, (_, i) =>
      Array.from({ length: side }, (_, j) => (i === 5 && j === 5 ? 1 : 0)),
    ),
    { dtype: "float64" },
  ).reshape([1, 1, side, side]);
  const [c1, c2] = [0.01 ** 2, 0.03 ** 2];
  const nothing = (c1 / (mean ** 2 + c1)) * (c2 / (variance + c2));
  close(ssim(dot, dot.mul(0)), [nothing], 1e-12, "nothing");
  const luminance = (2 * mean * (1 - mean) + c1) / (mean ** 2 + (1 - mean) ** 2 + c1);
  const negative = luminance * ((-2 * variance + c2) / (2 * variance + c2));
  close(ssim(dot, dot.rsub(1)), [negative], 1e-12, "negative");
});

test("SSIM by plain loops over windows", () => {
  const [channels, height, width, window] = [2, 9, 8, 7];
  const [x, y] = [5, 6].map((seed) =>
    rand([1, channels, height, width], new Generator({ seed }), { dtype: "float64" }),
  );
  if (!x || !y) throw new Error("expected two images");
  const [a, b] = [x.toArray(), y.toArray()];
  const weight = (i: number, j: number) => Math.exp(-((i - 3) ** 2 + (j - 3) ** 2) / (2 * 1.5 ** 2));
  const values: number[] = [];
  for (let c = 0; c < channels; c++)
    for (let top = 0; top <= height - window; top++)
      for (let left = 0; left <= width - window; left++) {
        let [total, ma, mb, aa, bb, ab] = [0, 0, 0, 0, 0, 0];
        for (let i = 0; i < window; i++)
          for (let j = 0; j < window; j++) {
            const place = (c * height + top + i) * width + left + j;
            const [p, q, w] = [a[place] as number, b[place] as number, weight(i, j)];
            total += w;
            ma += w * p;
            mb += w * q;
            aa += w * p * p;
            bb += w * q * q;
            ab += w * p * q;
          }
        [ma, mb] = [ma / total, mb / total];
        const [va, vb, covariance] = [aa / total - ma ** 2, bb / total - mb ** 2, ab / total - ma * mb];
        values.push(
          (((2 * ma * mb + 1e-4) / (ma ** 2 + mb ** 2 + 1e-4)) * (2 * covariance + 9e-4)) / (va + vb + 9e-4),
        );
      }
  const expected = values.reduce((sum, value) => sum + value, 0) / values.length;
  close(ssim(x, y, { window }), [expected], 1e-10, "SSIM");
});

test("MAE by hand, over pixels and channels, on the scale of the images; bytes do not wrap", () => {
  const zero = plain([0, 0], [2, 1, 2]);
  const some = stack([tensor([[[1, -2]], [[3, 0]]]), tensor([[[0, 0]], [[0, 8]]])]);
  expect(meanAbsoluteError(zero, some).toArray()).toEqual([1.5, 2]);
  expect(meanAbsoluteError(zero.to("uint8"), plain([3, 255], [2, 1, 2]).to("uint8")).toArray()).toEqual([
    3, 255,
  ]);
});

test("RMSE by hand: each image by itself, on the scale of the images; bytes do not wrap", () => {
  const zero = plain([0, 0], [2, 1, 2]);
  const some = stack([tensor([[[1, -1]], [[7, 7]]]), tensor([[[0, 0]], [[0, 8]]])]);
  expect(rootMeanSquareError(zero, some).toArray()).toEqual([5, 4]); // sqrt(100 / 4), sqrt(64 / 4)
  expect(rootMeanSquareError(zero.to("uint8"), plain([3, 255], [2, 1, 2]).to("uint8")).toArray()).toEqual([
    3, 255,
  ]);
});

test("shapes that differ are refused, though they could be broadcast", () => {
  const [one, two] = [plain([1], [1, 4, 4]), plain([1, 2], [1, 4, 4])];
  const message = "expected two tensors of images [N, C, H, W] of one shape";
  for (const measure of [meanAbsoluteError, rootMeanSquareError, ssim])
    expect(() => measure(one, two)).toThrow(message);
  expect(() => msSsim(cat([two, two], 1), two)).toThrow(message);
  expect(() => msSsim(one.select(0, 0), one.select(0, 0))).toThrow(message);
});

test("nothing is left behind but the result", () => {
  scope(() => {
    const x = rand([3, 1, 28, 28], new Generator({ seed: 1 }));
    collectGarbage();
    const before = liveTensors();
    for (const [i, measure] of [msSsim, ssim, meanAbsoluteError, rootMeanSquareError].entries()) {
      measure(x, x);
      expect(liveTensors()).toBe(before + i + 1);
    }
  });
});
