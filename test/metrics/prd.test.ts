/** Precision and recall for distributions: curves of known histograms, clusters of known clouds. */
import { expect, test } from "vitest";
import { clusterHistograms, prd, prdCurve, prdScores } from "../../src/metrics/index.js";
import { kMeans } from "../../src/metrics/k-means.js";
import { cat, Generator, liveTensors, randn, scope, type Tensor, tensor } from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";

const generator = (seed = 1) => new Generator({ seed });

/** `count` points around `centre` times (1, 1), one unit wide. */
const cloud = (count: number, centre: number, seed: number) => randn([count, 2], generator(seed)).add(centre);

test("equal histograms: both 1 at the slope 1; disjoint ones: nothing", () => {
  const histogram = tensor([0.5, 0.25, 0.25, 0]);
  const same = prdScores(prdCurve(histogram, histogram));
  expect(same.f8).toBeCloseTo(1, 9);
  expect(same.fEighth).toBeCloseTo(1, 9);
  const curve = prdCurve(tensor([1, 0]), tensor([0, 1]));
  expect(curve.precision.max().item()).toBe(0);
  expect(prdScores(curve)).toEqual({ f8: 0, fEighth: 0 });
});

test("half the modes are missing: precision min(l/2, 1), recall min(1/2, 1/l)", () => {
  const [one, two] = [tensor([1, 0]), tensor([0.5, 0.5])];
  const angles = 5;
  const missing = prdCurve(one, two, { angles });
  const slopes = [1, 2, 3].map((i) => Math.tan((i * Math.PI) / 8)); // but for the ends
  for (const [i, slope] of slopes.entries()) {
    expect(missing.precision.toArray()[i + 1]).toBeCloseTo(Math.min(slope / 2, 1), 9);
    expect(missing.recall.toArray()[i + 1]).toBeCloseTo(Math.min(1 / 2, 1 / slope), 9);
  }
  // Largest at the slope 2, with p = 1 and r = 1/2: (1 + b^2) / (2 b^2 + 1).
  const fine = prdScores(prdCurve(one, two, { angles: 100_001 }));
  expect(fine.f8).toBeCloseTo(65 / 129, 4);
  expect(fine.fEighth).toBeCloseTo(65 / 64 / (1 / 32 + 1), 4);
  // Modes too many instead: the roles are swapped.
  const added = prdScores(prdCurve(two, one, { angles: 100_001 }));
  expect(added.f8).toBeCloseTo(fine.fEighth, 9);
  expect(added.fEighth).toBeCloseTo(fine.f8, 9);
});

test("a histogram whose sum is above 1 is refused", () => {
  expect(() => prdCurve(tensor([1, 1]), tensor([1, 1]))).toThrow("expected histograms of sum 1");
});

test("clouds far apart are the clusters, across tiles of rows, the same for a seed", () => {
  const points = cat([cloud(1500, 0, 1), cloud(700, 1000, 2), cloud(100, -1000, 3)]);
  const labels = kMeans(points, { clusters: 3, generator: generator() });
  const groups = [
    [0, 1500],
    [1500, 700],
    [2200, 100],
  ].map(([start = 0, length = 0]) => new Set(labels.narrow(0, start, length).toArray()));
  for (const group of groups) expect(group.size).toBe(1);
  expect(new Set(groups.flatMap((group) => [...group]))).toEqual(new Set([0, 1, 2]));
  const again = kMeans(points, { clusters: 3, generator: generator() });
  expect(again.toArray()).toEqual(labels.toArray());
});

test("Lloyd's iterations end where each point is in the cluster of the nearest mean", () => {
  const points = randn([300, 3], generator(4), { dtype: "float64" });
  const clusters = 6;
  const labels = kMeans(points, { clusters, generator: generator(5) }).toArray();
  const rows = Array.from({ length: 300 }, (_, i) => points.select(0, i).toArray());
  const means = Array.from({ length: clusters }, (_, k) => {
    const members = rows.filter((_, i) => labels[i] === k);
    expect(members.length).toBeGreaterThan(0);
    return [0, 1, 2].map((d) => members.reduce((sum, row) => sum + (row[d] as number), 0) / members.length);
  });
  for (const [i, row] of rows.entries()) {
    const squares = means.map((mean) => mean.reduce((sum, m, d) => sum + (m - (row[d] as number)) ** 2, 0));
    expect(labels[i]).toBe(squares.indexOf(Math.min(...squares)));
  }
});

test("fewer distinct points than clusters: each is one", () => {
  const points = tensor([[0], [5], [0], [5], [0]]);
  const labels = kMeans(points, { clusters: 4, generator: generator() }).toArray();
  expect(new Set(labels).size).toBe(2);
  expect([labels[2], labels[4], labels[3]]).toEqual([labels[0], labels[0], labels[1]]);
});

test("the histograms of two sets over the clusters of both", () => {
  const evaluated = cat([cloud(15, 0, 1), cloud(15, 1000, 2)]);
  const reference = cat([cloud(5, 0, 3), cloud(15, -1000, 4)]);
  const found = clusterHistograms(evaluated, reference, { clusters: 3, generator: generator() });
  const pairs = found.evaluated.toArray().map((p, i) => [p, found.reference.toArray()[i] as number]);
  const keyed = new Set(pairs.map(([p, q]) => `${p} ${q}`));
  expect(keyed).toEqual(new Set(["0 0.75", "0.5 0.25", "0.5 0"]));
});

test("prd: what is generated lacks a mode of the reference, or has one more", () => {
  const real = cat([cloud(20, 0, 1), cloud(20, 1000, 2)]);
  const options = () => ({ clusters: 2, clusterings: 3, angles: 10_001, generator: generator() });
  const missing = prd(cloud(40, 0, 3), real, options());
  expect(missing.precision.shape).toEqual([10_001]);
  expect(missing.f8).toBeCloseTo(65 / 129, 3);
  expect(missing.fEighth).toBeCloseTo(65 / 64 / (1 / 32 + 1), 3);
  const added = prd(real, cloud(40, 0, 3), options());
  expect(added.f8).toBeCloseTo(missing.fEighth, 3);
  const same = prd(real, real, { generator: generator() });
  expect(same.precision.shape).toEqual([1001]);
  expect([same.f8, same.fEighth].every((score) => Math.abs(score - 1) < 1e-9)).toBe(true);
});

test("the larger set is reduced to the size of the smaller", () => {
  const reference = cat([cloud(200, 0, 1), cloud(100, 1000, 2)]);
  const recallAtOnce = (seed: number) => {
    const options = { clusters: 2, clusterings: 1, generator: generator(seed) };
    return prd(cloud(4, 0, 3), reference, options)
      .recall.max()
      .item();
  };
  // The recall at slopes near 0 is the part of the reference in the generated cluster: one of four quarters.
  for (const seed of [1, 2, 3]) {
    const quarters = 4 * recallAtOnce(seed);
    expect(quarters).toBeCloseTo(Math.round(quarters), 6);
  }
});

test("nothing is left behind but the curve", () => {
  scope(() => {
    const x = cloud(30, 0, 1);
    const draws = generator();
    collectGarbage();
    const before = liveTensors();
    const result: { precision: Tensor; recall: Tensor } = prd(x, x, { clusters: 4, generator: draws });
    expect(result.recall.rank).toBe(1);
    expect(liveTensors()).toBe(before + 2);
  });
});
