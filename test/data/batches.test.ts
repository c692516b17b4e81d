/** The order of training images: Philox against its published answers, permutations against their definition. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { BatchOrder } from "../../src/data/batches.js";
import { multiplyHigh, philox } from "../../src/data/philox.js";

// Random123, tests/kat_vectors: the lines "philox4x32 10".
test.each([
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
] as const)("philox gives the known answers %#", (counter, key, expected) => {
  const out = new Uint32Array(4);
  philox(counter, key, out);
  expect([...out]).toEqual(expected);
});

test("multiplyHigh is the high word of the exact product", () => {
  const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      expect(multiplyHigh(a, b)).toBe(Number((BigInt(a) * BigInt(b)) >> 32n));
    }),
  );
});

test("each epoch is a permutation in ceil(N / B) batches, the last one smaller", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 1, max: 70 }),
      fc.maxSafeInteger(),
      (length, size, seed) => {
        const order = new BatchOrder(length, size, seed);
        expect(order.stepsPerEpoch).toBe(Math.ceil(length / size));
        for (const epoch of [0, 3]) {
          const batches = Array.from({ length: order.stepsPerEpoch }, (_, i) =>
            order.at(epoch * order.stepsPerEpoch + i),
          );
          expect(batches.slice(0, -1).every((batch) => batch.length === size)).toBe(true);
          expect(batches.flatMap((batch) => [...batch]).sort((a, b) => a - b)).toEqual(
            Array.from({ length }, (_, i) => i),
          );
        }
      },
    ),
  );
});

test("a step depends on nothing but seed and step", () => {
  const straight = new BatchOrder(50, 8, 7);
  const all = Array.from({ length: 30 }, (_, step) => [...straight.at(step)]);
  const jumping = new BatchOrder(50, 8, 7);
  for (const step of [29, 3, 17, 3, 0]) expect([...jumping.at(step)]).toEqual(all[step]);
  new BatchOrder(50, 8, 7).at(0).fill(0);
  straight.at(0).fill(0);
  expect([...straight.at(0)]).toEqual(all[0]);
});

test("epochs and seeds, also those that differ above 32 bits or in sign, differ", () => {
  const first = (seed: number, step: number) => new BatchOrder(100, 100, seed).at(step).join();
  const orders = [first(1, 0), first(1, 1), first(2, 0), first(1 + 2 ** 32, 0), first(-1, 0)];
  expect(new Set(orders).size).toBe(orders.length);
});

test("permutations are uniform", () => {
  // 24,000 epochs of 4 images: each of the 24 orders is expected 1,000 times; the 99.999 % quantile of chi-square
  // with 23 degrees of freedom is 65.6 (Wilson-Hilferty), and the seed is fixed.
  const order = new BatchOrder(4, 4, 5);
  const counts = new Map<string, number>();
  for (let epoch = 0; epoch < 24_000; epoch++) {
    const key = order.at(epoch).join();
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  expect(counts.size).toBe(24);
  const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
  expect(chiSquare).toBeLessThan(65.6);
});

test("impossible sizes are refused", () => {
  expect(() => new BatchOrder(0, 1, 0)).toThrow(RangeError);
  expect(() => new BatchOrder(1, 0, 0)).toThrow(RangeError);
  expect(() => new BatchOrder(1, 1, 0.5)).toThrow(RangeError);
  expect(() => new BatchOrder(1, 1, 0).at(-1)).toThrow(RangeError);
});
