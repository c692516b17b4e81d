/** Segments that are computed again for the gradient: the same bits, less kept, and what is refused. */
import { afterEach, describe, expect, test } from "vitest";
import {
  autocast,
  backward,
  checkpoint,
  clearGradients,
  full,
  Generator,
  grad,
  liveTensors,
  noGrad,
  randn,
  scope,
  setThreads,
  type Tensor,
} from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";
import { close, same } from "../golden.js";

setThreads(1);

/** Resident memory of the process in MB. */
function resident(): number {
  return process.memoryUsage.rss() / 2 ** 20;
}

// First, in a process that has nothing to give back. Tensors of that size are returned to the system when they are freed.
test("keeps what goes into a segment, not what is made inside", () => {
  const megabytes = 36;
  const x = full([megabytes * 2 ** 18], 0.5).requireGrad();
  const sines = (h: Tensor) => [scope(() => h.sin().sin().sin().sin())] as const; // each keeps its input
  const grown = (through: (h: Tensor) => readonly [Tensor]) => {
    const before = resident();
    const loss = scope(() => through(...through(...through(x)))[0].sum());
    const after = resident();
    loss.dispose();
    return (after - before) / megabytes;
  };
  // Of 12 tensors with a graph, the last is not kept, and x was there before.
  expect(grown(sines)).toBeGreaterThan(10);
  expect(grown((h) => checkpoint(sines, [h]))).toBeLessThan(5);
  x.dispose();
});

const generator = new Generator({ seed: 1 });
const weights = Array.from({ length: 3 }, () => randn([6, 6], generator).requireGrad().keep());
const x = randn([4, 6], generator).requireGrad().keep();
const c = randn([4, 6], generator).requireGrad().keep();
const data = randn([4, 6], generator).keep();
const leaves = [...weights, x, c];
afterEach(() => clearGradients(leaves));

type Block = (h: Tensor, c: Tensor, data: Tensor) => readonly [Tensor, Tensor, Tensor];

/** A residual block that uses each of its inputs twice; what is used again behind it is among its results. */
function block(w: Tensor): Block {
  return (h, c, data) => [h.add(h.mul(c).matmul(w).add(c).sigmoid().mul(data)), h, c];
}

/** Three blocks with skips around them, each changed by `how`. */
function network(how: (block: Block) => Block): Tensor {
  const [first, second, third] = weights.map((w) => how(block(w))) as [Block, Block, Block];
  const [h1, skip1, c1] = first(x.mul(3), c.exp(), data);
  const [h2, skip2, c2] = second(h1, c1, data);
  const [h3, , c3] = third(h2.mul(h2), c2, data);
  return h3.mul(skip2).add(skip1).mul(c3).square().sum();
}

const checkpointed =
  (block: Block): Block =>
  (...inputs) =>
    checkpoint(block, inputs);
const kept = () => network((block) => block);
const again = () => network(checkpointed);

/** The loss and all gradients. */
function gradientsOf(run: () => Tensor): Tensor[] {
  clearGradients(leaves);
  const loss = run();
  loss.backward();
  return [loss.detach(), ...leaves.map((leaf) => (leaf.grad as Tensor).clone())];
}

function expectSame(run: () => Tensor, reference: () => Tensor): void {
  const expected = gradientsOf(reference);
  for (const [i, found] of gradientsOf(run).entries()) same(found, expected[i] as Tensor, `${i}`);
}

describe("the same bits as without", () => {
  test("inputs that are used more than once, and one that needs no gradient", () => {
    expectSame(again, kept);
    expect(data.grad).toBeNull();
  });

  test("under autocast, which has ended when the gradient is wanted", () => {
    const half = (run: () => Tensor) => () => autocast({ dtype: "bfloat16" }, run);
    expectSame(half(again), half(kept));
    // The precision makes a difference to be preserved.
    const [, exact] = gradientsOf(kept) as [Tensor, Tensor];
    const [, rounded] = gradientsOf(half(again)) as [Tensor, Tensor];
    expect(exact.sub(rounded).abs().max().item()).toBeGreaterThan(0);
  });

  test("a segment within a segment", () => {
    const outer =
      (inner: Block): Block =>
      (...inputs) => {
        const [h, skip, c] = inner(...inputs);
        return [h.tanh(), skip, c];
      };
    expectSame(
      () => network((block) => checkpointed(outer(checkpointed(block)))),
      () => network(outer),
    );
  });

  test("a weight that autocast has cast inside gets its gradient outside too", () => {
    const [w] = weights as [Tensor];
    const gradient = (how: (block: Block) => Block) => {
      clearGradients(leaves);
      autocast({ dtype: "bfloat16" }, () =>
        how(block(w))(x.mul(1), c, data)[0].matmul(w).to("float32").square().mean().backward(),
      );
      return (w.grad as Tensor).clone();
    };
    const expected = gradient((block) => block);
    // Two parts added up in bfloat16, or in float32.
    close(gradient(checkpointed), expected, 2 ** -7, "w", { rule: "largest" });
    // The part from within alone is far from it.
    const within = grad([block(w)(x, c, data)[0].matmul(w.detach()).square().mean()], [w])[0] as Tensor;
    expect(within.sub(expected).abs().max().item()).toBeGreaterThan(0.1);
  });

  test("a graph that is gone through twice doubles the gradient", () => {
    const [, ...once] = gradientsOf(kept);
    clearGradients(leaves);
    const loss = again();
    backward([loss], { retainGraph: true });
    backward([loss]);
    for (const [i, leaf] of leaves.entries()) same(leaf.grad as Tensor, (once[i] as Tensor).mul(2), `${i}`);
    expect(() => backward([loss])).toThrow("backward through the graph a second time");
  });

  test("what no loss depends on has no gradient", () => {
    const [, skip] = checkpointed(block(weights[0] as Tensor))(x.mul(1), c.mul(1), data);
    skip.sum().backward();
    expect(leaves.map((leaf) => leaf.grad?.sum().item())).toEqual([
      ...weights.map(() => undefined),
      x.size,
      undefined,
    ]);
  });
});

test("is computed a second time by backward alone", () => {
  let runs = 0;
  const counted = (h: Tensor) => {
    runs += 1;
    return [h.exp()] as const;
  };
  const [y] = checkpoint(counted, [x]);
  expect(runs).toBe(1);
  y.sum().backward();
  expect(runs).toBe(2);
  const [z] = noGrad(() => checkpoint(counted, [x]));
  expect([runs, z.requiresGrad]).toEqual([3, false]);
});

test("what a segment hands through is not its own: it stays", () => {
  const w = weights[0] as Tensor;
  const [y, same] = checkpoint((h) => [h.matmul(w), data] as const, [x]);
  y.sum().add(same.sum()).backward();
  expect(data.toArray()).toHaveLength(data.size);
  const [z] = checkpoint((h) => [h.mul(c), c] as const, [x]);
  z.sum().backward();
  expect(c.toArray()).toHaveLength(c.size);
  expect(x.grad?.toArray()).toHaveLength(x.size);
});

test("whole numbers among the results have no gradient", () => {
  const [y, largest] = checkpoint((h) => [h.mul(2), h.argmax(1)] as const, [x]);
  expect([y.requiresGrad, largest.requiresGrad, largest.dtype]).toEqual([true, false, "int64"]);
  expect(largest.toArray()).toEqual(x.argmax(1).toArray());
  y.sum().backward();
  expect(new Set(x.grad?.toArray())).toEqual(new Set([2]));
});

test("a segment that closes over what it has made is let go of by backward", () => {
  collectGarbage();
  const before = liveTensors();
  for (let i = 0; i < 5; i++) {
    let made: Tensor | undefined;
    const run = (h: Tensor) => {
      void made;
      return [h.exp()] as const;
    };
    [made] = checkpoint(run, [x]);
    made.sum().backward();
  }
  clearGradients(leaves);
  noGrad(() => checkpoint((h) => [h], [x])); // references wait for the next segment
  const [last] = checkpoint((h) => [h.exp()] as const, [x]);
  last.dispose();
  collectGarbage();
  expect(liveTensors()).toBeLessThanOrEqual(before + 1);
});

test("leaves no tensor behind, used or not", () => {
  collectGarbage();
  scope(() => again().backward()); // the gradients of the leaves
  const before = liveTensors();
  for (let i = 0; i < 3; i++) scope(() => again().backward());
  scope(() => void again());
  expect(liveTensors()).toBe(before);
});

describe("refused", () => {
  test("gradients as values, which parameters inside would get too", () => {
    expect(() => grad([again()], [x])).toThrow("expected backward()");
    expect(leaves.map((leaf) => leaf.grad)).toEqual(leaves.map(() => null));
  });

  test("second derivatives", () => {
    expect(() => grad([again()], [x], { createGraph: true })).toThrow("no second derivatives");
  });

  test("an error of the second run arrives as it is, and what follows is well", () => {
    let runs = 0;
    const failing = (h: Tensor) => {
      if (++runs === 2) throw new RangeError("the second time");
      return [h.exp()] as const;
    };
    const loss = checkpoint(failing, [x])[0].sum();
    expect(() => loss.backward()).toThrow(RangeError);
    expectSame(again, kept);
  });
});
