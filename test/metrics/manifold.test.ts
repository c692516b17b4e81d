/** Precision and recall of points on a line, of copies, and across tiles. */
import { expect, test } from "vitest";
import { UserError } from "../../src/errors.js";
import { manifoldRadii, precisionRecall } from "../../src/metrics/index.js";
import { arange, cat, Generator, liveTensors, randn, scope, tensor } from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";

/** Points `[N, 1]`. */
const line = (...points: number[]) => tensor(points.map((x) => [x]));

test("by hand: balls on a line, closed, of any number of neighbours", () => {
  const reference = line(0, 1, 3, 10);
  expect(manifoldRadii(reference, { neighbours: 1 }).toArray()).toEqual([1, 1, 2, 7]);
  expect(manifoldRadii(reference, { neighbours: 2 }).toArray()).toEqual([3, 2, 3, 9]);
  expect(manifoldRadii(reference).toArray()).toEqual([10, 9, 7, 10]); // of 3 neighbours
  // With 1 neighbour the reference's balls cover [-1, 5] and [3, 17].
  const generated = line(-1, 17, 17.5, -1.5);
  // The generated balls, of radius 0.5, cover [-2, -0.5] and [16.5, 18].
  expect(precisionRecall(reference, generated, { neighbours: 1 })).toEqual({ precision: 0.5, recall: 0 });
  expect(precisionRecall(generated, reference, { neighbours: 1 })).toEqual({ precision: 0, recall: 0.5 });
});

test("sets of several tiles: points one apart, each reaching its second neighbour on both sides", () => {
  const reference = arange(0, 3000).unsqueeze(1);
  const generated = arange(2000, 3500).unsqueeze(1);
  // 3 neighbours are 1, 1 and 2 away, but 1, 2 and 3 at an end.
  const radii = manifoldRadii(reference).toArray();
  expect([radii[0], radii.at(-1)]).toEqual([3, 3]);
  expect(new Set(radii.slice(1, -1))).toEqual(new Set([2]));
  // 2999 reaches 3002: 2000 to 3002 are inside. 2000 reaches 1997: 1997 to 2999 are.
  expect(precisionRecall(reference, generated)).toEqual({ precision: 1003 / 1500, recall: 1003 / 3000 });
});

test("a set lies in its own manifold; sets far apart share nothing", () => {
  const x = randn([40, 8], new Generator({ seed: 1 }));
  expect(precisionRecall(x, x)).toEqual({ precision: 1, recall: 1 });
  expect(precisionRecall(x, x.add(1000))).toEqual({ precision: 0, recall: 0 });
});

test("copies are at no distance, whatever their norm", () => {
  // A collapsed generator: all radii are 0, and so are the distances to the copies in the reference.
  const [image, others] = randn([21, 300], new Generator({ seed: 2 }))
    .mul(100)
    .add(1000)
    .split(20, 0)
    .reverse() as [ReturnType<typeof randn>, ReturnType<typeof randn>];
  const copies = image.expand([7, 300]);
  expect(manifoldRadii(copies).toArray()).toEqual([0, 0, 0, 0, 0, 0, 0]);
  const { precision, recall } = precisionRecall(cat([copies, others]), copies);
  expect(precision).toBe(1);
  expect(recall).toBeCloseTo(7 / 27, 12);
});

test("too few points for the neighbours asked for", () => {
  expect(() => precisionRecall(line(0, 1, 2, 3), line(0, 1, 2))).toThrow(UserError);
  expect(() => manifoldRadii(line(0, 1, 2))).toThrow(
    "expected more than 3 images for a manifold of 3 neighbours, got 3: take more",
  );
});

test("nothing is left behind but the radii", () => {
  scope(() => {
    const x = randn([50, 4], new Generator({ seed: 3 }));
    collectGarbage();
    const before = liveTensors();
    precisionRecall(x, x);
    expect(liveTensors()).toBe(before);
    manifoldRadii(x);
    expect(liveTensors()).toBe(before + 1);
  });
});
