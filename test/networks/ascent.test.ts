/** The way up of a U-Net: what it computes, and that it holds no map longer than it needs it. */
import { describe, expect, test } from "vitest";
import { ascend, type Descended } from "../../src/networks/ascent.js";
import { liveTensors, noGrad, scope, type Tensor, tensor } from "../../src/torch/index.js";

const factors = [2, 3, 5];

/** `h = 7 w`, and skips `w`, `10 w`, `100 w`, each of one channel. */
function descended(w: Tensor): Descended {
  const map = (factor: number) => w.mul(factor).reshape([1, 1, 1, 1]);
  return { h: map(7), embedding: tensor([1]), skips: [1, 10, 100].map(map) };
}

/** `factor * (below + skip)` */
const block = (factor: number, joined: Tensor) => joined.sum([1], { keepDims: true }).mul(factor);

describe.each(["none", "levels"] as const)("recompute: %s", (recompute) => {
  test("takes the last skip first, and freed maps have their gradients", () => {
    const w = tensor([1.5]).requireGrad();
    const found = scope(() => {
      const result = ascend(factors, descended(w), { recompute }, block);
      result.sum().backward();
      return result.item();
    });
    const expected = 5 * (3 * (2 * (7 + 100) + 10) + 1);
    expect(found).toBe(expected * 1.5);
    expect((w.grad as Tensor).item()).toBe(expected);
  });
});

test("holds fewer maps from block to block without gradients", () => {
  const alive: number[] = [];
  scope(() =>
    noGrad(() =>
      ascend(factors, descended(tensor([1.5])), {}, (factor, joined) => {
        alive.push(liveTensors());
        return block(factor, joined);
      }),
    ),
  );
  expect(alive.map((count) => count - (alive[0] as number))).toEqual([0, -1, -2]);
});
