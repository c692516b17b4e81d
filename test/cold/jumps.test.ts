/** By which levels samples come, and which jumps and samplers a network can be asked for. */
import { describe, expect, test } from "vitest";
import { Streams } from "../../src/torch/index.js";
import { coldOf, degradationNamed, Stub } from "./stub.js";

const black = (levels: number) => degradationNamed("black", levels);
const stub = (levels: number) => new Stub({ a: 0.1, b: 0, c: 0, levels });

describe("levels of a sample", () => {
  const system = coldOf(stub(10), { degradation: black(10), jump: 6 });
  const froms = (o: Parameters<typeof system.levelsOf>[0]) =>
    system.levelsOf(o).visits.map(({ from }) => from);

  // T, T - S, ..., where S is the jump that the network was trained for: 5 would give as many steps.
  test("go by the model's own jump where that gives the steps", () => {
    expect(system.usualSteps("ancestral")).toBe(2);
    expect(froms({ sampler: "ancestral", steps: 2 })).toEqual([10, 4]);
    expect(froms({ sampler: "ancestral", steps: 5 })).toEqual([10, 8, 6, 4, 2]);
    expect(froms({ sampler: "ancestral", steps: 4, jump: 3 })).toEqual([10, 7, 4, 1]);
  });

  test("are all of them for redegrade, which looks ahead by the model's own jump", () => {
    const { jump, visits } = system.levelsOf({ sampler: "redegrade", steps: 10 });
    expect(jump).toBe(6);
    expect(visits.map(({ to }) => to)).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
  });

  test("are those that a sample begins with", () => {
    const request = { count: 1, steps: 2, sampler: "ancestral", streams: new Streams(0), pass: {} };
    expect(system.start(request).visits).toEqual([
      { from: 10, to: 4 },
      { from: 4, to: 0 },
    ]);
  });
});

describe("a network that is told no level but its input's", () => {
  const steps = (sampler: string, jump = 1) => ({ sampler, jump, steps: Math.ceil(6 / jump) });

  test("leads to the next level alone", () => {
    const system = coldOf(stub(6), { degradation: black(6), times: "one" });
    for (const allowed of [steps("ancestral"), steps("redegrade")])
      expect(() => system.checkSampling(allowed)).not.toThrow();
    for (const refused of [
      steps("ancestral", 2),
      steps("algorithm-1"),
      steps("algorithm-2"),
      { sampler: "redegrade", jump: 2, steps: 6 },
    ])
      expect(() => system.checkSampling(refused)).toThrow(/model\.network\.times one/);
  });

  test("leads anywhere where it predicts the clean image, or there is one level", () => {
    const clean = coldOf(stub(6), { degradation: black(6), times: "one", prediction: "x0" });
    expect(() => clean.checkSampling(steps("algorithm-2", 3))).not.toThrow();
    const single = coldOf(stub(1), { degradation: black(1), times: "one" });
    expect(() => single.checkSampling({ sampler: "algorithm-2", steps: 1 })).not.toThrow();
  });
});

describe("what a model was not trained for is told", () => {
  const of = (o: { readonly trainedJumps: "one" | "multiples"; readonly jump?: number }) =>
    coldOf(stub(6), { degradation: black(6), ...o });
  const ask = (sampler: string, jump: number) => ({ sampler, jump, steps: Math.ceil(6 / jump) });

  test("of single levels: jumps, and the clean image at once", () => {
    const single = of({ trainedJumps: "one" });
    expect(single.untrained(ask("ancestral", 1))).toBeUndefined();
    expect(single.untrained(ask("ancestral", 2))).toMatch(
      /one level at a time, and is asked for 2 levels at once/,
    );
    expect(single.untrained(ask("algorithm-2", 1))).toMatch(/asked for the clean image at once/);
  });

  test("of multiples of 2: jumps of 3, and nothing else", () => {
    const multiples = of({ trainedJumps: "multiples", jump: 2 });
    expect(multiples.untrained(ask("ancestral", 2))).toBeUndefined();
    expect(multiples.untrained(ask("ancestral", 6))).toBeUndefined();
    expect(multiples.untrained(ask("ancestral", 3))).toMatch(
      /multiples of 2 levels, and is asked for 3 at once/,
    );
  });

  test("of clean images: nothing", () => {
    const clean = coldOf(stub(6), { degradation: black(6), prediction: "x0" });
    expect(clean.untrained(ask("algorithm-2", 3))).toBeUndefined();
  });
});

test.each([
  ["redegrade", "blur", "x0", /expected model\.prediction previous for the sampler "redegrade", got x0/],
  ["fixed-noise", "blur", "x0", /expected a degradation with noise for the sampler "fixed-noise"/],
  ["algorithm-1", "noise", "x0", /expected a degradation without noise for the sampler "algorithm-1"/],
] as const)("%s of %s is refused before a sample is begun", (sampler, kind, prediction, message) => {
  const system = coldOf(stub(6), { degradation: degradationNamed(kind, 6), prediction });
  expect(() => system.checkSampling({ sampler, steps: 6 })).toThrow(message);
});
