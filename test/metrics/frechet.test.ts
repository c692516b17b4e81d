/** The Frechet distance of Gaussians whose distance is a closed form, and the features that need no network. */
import { describe, expect, test } from "vitest";
import { blockMeans } from "../../src/metrics/block-means.js";
import { fitGaussian, frechetDistance } from "../../src/metrics/frechet.js";
import { fromTypedArray, tensor } from "../../src/torch/index.js";

type Matrix = readonly (readonly number[])[];

const gaussian = (mean: readonly number[], covariance: Matrix) => ({
  mean: tensor([...mean], { dtype: "float64" }),
  covariance: tensor(covariance as number[][], { dtype: "float64" }),
});

/** `Q diag(a) Q^T` of the rotation by an angle. */
function rotated([a, b]: readonly [number, number], angle: number): Matrix {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return [
    [a * c * c + b * s * s, (a - b) * c * s],
    [(a - b) * c * s, a * s * s + b * c * c],
  ];
}

describe("frechetDistance", () => {
  test("of commuting covariances is |m1 - m2|^2 + sum (sqrt(a) - sqrt(b))^2", () => {
    for (const angle of [0, 0.7]) {
      const first = gaussian([1, -2], rotated([4, 9], angle));
      const second = gaussian([4, 2], rotated([1, 25], angle));
      // 3^2 + 4^2 + (2 - 1)^2 + (3 - 5)^2
      expect(frechetDistance(first, second)).toBeCloseTo(30, 10);
      expect(frechetDistance(second, first)).toBeCloseTo(30, 10);
      expect(frechetDistance(first, first)).toBeCloseTo(0, 10);
    }
  });

  test("of two by two covariances that do not commute, by the trace of a root", () => {
    // tr (C1 C2)^(1/2) = sqrt(tr(C1 C2) + 2 sqrt(det C1 det C2)) for two eigenvalues.
    const [first, second] = [rotated([4, 9], 0), rotated([1, 25], 0.7)];
    const product = first.flatMap((row, i) => row.map((value, j) => value * (second[j]?.[i] ?? 0)));
    const root = Math.sqrt(product.reduce((sum, value) => sum + value, 0) + 2 * Math.sqrt(36 * 25));
    const distance = frechetDistance(gaussian([0, 0], first), gaussian([0, 0], second));
    expect(distance).toBeCloseTo(13 + 26 - 2 * root, 10);
  });

  test("takes covariances that cannot be inverted", () => {
    const flat = gaussian(
      [0, 0],
      [
        [4, 0],
        [0, 0],
      ],
    );
    const other = gaussian(
      [0, 0],
      [
        [9, 0],
        [0, 16],
      ],
    );
    expect(frechetDistance(flat, other)).toBeCloseTo(1 + 16, 6);
  });
});

test("fitGaussian: the mean and the unbiased covariance", () => {
  const { mean, covariance } = fitGaussian(
    tensor([
      [0, 0],
      [2, 0],
      [0, 4],
      [2, 4],
    ]),
  );
  expect(mean.toArray()).toEqual([1, 2]);
  expect(covariance.toArray()).toEqual([4 / 3, 0, 0, 16 / 3]); // sums of squares 4 and 16 over 3
  expect(() => fitGaussian(tensor([[0, 0]]))).toThrow("expected at least 2 feature vectors");
});

test("blockMeans: one mean for each of 7 by 7 blocks of each channel", () => {
  // 14 by 14: block (i, j) holds 5 (7 i + j), but for its last pixel, which is one more in the second channel.
  const pixel = (channel: number, y: number, x: number) =>
    5 * (7 * Math.floor(y / 2) + Math.floor(x / 2)) + (channel === 1 && y % 2 === 1 && x % 2 === 1 ? 1 : 0);
  const bytes = Uint8Array.from({ length: 2 * 196 }, (_, i) =>
    pixel(Math.floor(i / 196), Math.floor((i % 196) / 14), i % 14),
  );
  const features = blockMeans(fromTypedArray(bytes, [1, 2, 14, 14]));
  expect(features.shape).toEqual([1, 98]);
  for (const [i, value] of features.toArray().entries())
    expect(value * 255).toBeCloseTo(5 * (i % 49) + (i < 49 ? 0 : 0.25), 10);
});
