/** Inception scores that are closed forms. */
import { expect, test } from "vitest";
import { inceptionScore } from "../../src/metrics/index.js";
import { full, tensor } from "../../src/torch/index.js";

test("sure and even over all classes: the number of classes; always the same answer: 1", () => {
  const sure = tensor([
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ]);
  expect(inceptionScore(sure).mean).toBeCloseTo(3, 12);
  expect(inceptionScore(full([5, 4], 0.25)).mean).toBeCloseTo(1, 12);
  expect(inceptionScore(sure.narrow(0, 0, 1)).mean).toBeCloseTo(1, 12);
});

test("by hand: ln 2 minus the entropy of one row", () => {
  // The mean of (1/4, 3/4) and (3/4, 1/4) is even.
  const score = inceptionScore(
    tensor([
      [0.25, 0.75],
      [0.75, 0.25],
    ]),
  );
  const entropy = -(0.25 * Math.log(0.25) + 0.75 * Math.log(0.75));
  expect(score.mean).toBeCloseTo(2 * Math.exp(-entropy), 12);
});

test("splits in order, a shorter last one counting fully, and how far they are from their mean", () => {
  const score = inceptionScore(
    tensor([
      [1, 0],
      [0, 1],
      [1, 0],
    ]),
    { splitSize: 2 },
  );
  // 2 and 1.
  expect(score.mean).toBeCloseTo(1.5, 12);
  expect(score.deviation).toBeCloseTo(0.5, 12);
});
