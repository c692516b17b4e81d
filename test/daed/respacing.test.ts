/** Fewer steps for a trained chain: which are kept, what stays as it was, and what cannot be had. */
import { describe, expect, test } from "vitest";
import {
  cosineBetas,
  GaussianChain,
  linearBetas,
  respacedCount,
  respacedSteps,
} from "../../src/diffusion/index.js";
import { UserError } from "../../src/errors.js";
import { DDGM } from "../../src/systems/index.js";
import { full, randn, Streams, type Tensor } from "../../src/torch/index.js";
import { close } from "../golden.js";
import { eps } from "./networks.js";
import { Formula } from "./toys.js";

describe("which steps", () => {
  test("the official examples", () => {
    const kept = respacedSteps(300, "10,15,20");
    expect(kept).toHaveLength(45);
    expect(kept.slice(0, 10)).toEqual([0, 11, 22, 33, 44, 55, 66, 77, 88, 99]);
    expect(respacedSteps(1000, "ddim25")).toEqual(Array.from({ length: 25 }, (_, i) => 40 * i));
    expect(respacedSteps(1000, "1000")).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  });

  // By hand: sections of floor(T / m), the first T mod m one longer, both ends of each kept.
  test.each([
    [10, "3", [0, 4, 9]], // a stride of 4.5, and Python rounds 4.5 to 4
    [6, "3", [0, 2, 5]], // 2.5 to 2
    [8, "3", [0, 4, 7]], // 3.5 to 4
    [11, "1,2", [0, 6, 10]], // sections of 6 and 5
    [10, "1", [0]],
    [10, "2", [0, 9]],
    [10, "ddim5", [0, 2, 4, 6, 8]],
    [10, "ddim4", [0, 3, 6, 9]],
    [10, "ddim10", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    [10, " 2 , 1 ", [0, 4, 5]],
  ])("of %i, %s", (steps, spec, kept) => {
    expect(respacedSteps(steps, spec)).toEqual(kept);
    expect(respacedCount(spec)).toBe(kept.length);
  });

  test.each(["2", "7", "50", "99", "100", "30,20", "10,15,20", "ddim50", "ddim34"])(
    "%s of 100: increasing, from the first step on",
    (spec) => {
      const kept = respacedSteps(100, spec);
      expect(kept).toHaveLength(respacedCount(spec));
      expect(kept[0]).toBe(0);
      for (const [i, step] of kept.slice(1).entries()) expect(step).toBeGreaterThan(kept[i] as number);
    },
  );

  test.each([
    [100, "101", /expected at most 100 steps of the chain, got 101: ask for fewer/],
    [100, "60,10", /expected at most 50 steps of its section 1, got 60/],
    [100, "ddim99", /expected a number of steps that some stride through 100 gives, got "ddim99"/],
    [100, "ddim1", /some stride/],
    [100, "fifty", /expected a respacing such as 50, 10,15,20 or ddim25, got "fifty"/],
    [100, "10,,20", /expected a respacing/],
    [100, "10,-5", /expected a respacing/],
    [100, "", /expected a respacing/],
  ])("of %i, %s: refused in one line", (steps, spec, said) => {
    expect(() => respacedSteps(steps, spec)).toThrow(UserError);
    expect(() => respacedSteps(steps, spec)).toThrow(said);
    expect(() => respacedSteps(steps, spec)).not.toThrow(/\n/);
  });
});

describe.each([
  ["linear", linearBetas(1000)],
  ["cosine", cosineBetas(1000)],
] as const)("a %s chain", (_, betas) => {
  const chain = new GaussianChain(betas);

  test("with all its steps is itself, to 1e-15", () => {
    // Through the quotients of abar: the first thousand of a chain that has one step more.
    const longer = new GaussianChain([...betas, 0.5]);
    const kept = longer.kept(betas.map((_, t) => t));
    close(Array.from(kept.tables.betas), betas, 0, "betas", { rule: "relative", absolute: 1e-15 });
    expect(kept.timesteps).toEqual(betas.map((_, t) => t));
    close(Array.from(chain.respaced("1000").tables.betas), betas, 0, "all", {
      rule: "relative",
      absolute: 1e-15,
    });
  });

  test.each(["50", "ddim25", "10,15,20"])("%s: abar of the kept states is what it was", (spec) => {
    const kept = respacedSteps(1000, spec);
    const respaced = chain.respaced(spec);
    const expected = kept.map((t) => chain.tables.alphasCumprod[t] as number);
    // At the cosine's end 1 - beta is 1e-3 to 1e-6, right to 1e-16: hence 1e-10 of abar.
    close(Array.from(respaced.tables.alphasCumprod), expected, 1e-10, "abar", { rule: "relative" });
    expect(respaced.length).toBe(kept.length);
    expect(respaced.timesteps).toEqual(kept);
  });

  test("respaced twice, the network still hears the numbers of the whole chain", () => {
    const twice = chain.respaced("100").respaced("10");
    const kept = respacedSteps(1000, "100");
    expect(twice.timesteps).toEqual(respacedSteps(100, "10").map((t) => kept[t]));
  });
});

test("the network is told the whole chain's numbers, times 1000 / T where they are rescaled", () => {
  const told: number[][] = [];
  const network = new Formula((x, t) => {
    told.push(t.reshape([-1]).toArray());
    return x.mul(0);
  });
  const chain = new GaussianChain(cosineBetas(4000));
  const options = { shape: [1, 2, 2], chain, type: eps("fixed-small"), loss: "simple", network } as const;
  const plain = new DDGM({ ...options, sampling: "uniform" });
  const rescaled = new DDGM({ ...options, sampling: "uniform", timestepScale: 1000 / chain.length });
  const x = randn([3, 1, 2, 2], new Streams(1).generator("x"));
  const respaced = chain.respaced("250");
  const last: Tensor = full([3], 249, { dtype: "int64" });
  plain.outputAt(respaced, x, last, { pass: {} });
  rescaled.outputAt(respaced, x, last, { pass: {} });
  rescaled.outputAt(chain, x, full([3], 2, { dtype: "int64" }), { pass: {} });
  expect(told).toEqual([
    [3999, 3999, 3999],
    [999.75, 999.75, 999.75],
    [0.5, 0.5, 0.5],
  ]);
});
