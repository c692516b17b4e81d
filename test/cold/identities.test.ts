/** What must hold of cold diffusion whatever the network: the checks of its specification, in float64. */
import { describe, expect, test } from "vitest";
import {
  AddedNoise,
  type Degradation,
  Fading,
  HeatBlur,
  heatStepTerm,
  type LevelTimes,
  levelsVisited,
  perImage,
  sample,
  teacherStates,
} from "../../src/diffusion/index.js";
import { constant, Module, Parameter } from "../../src/nn/index.js";
import { Generator, randn, Streams, stack, type Tensor, zerosLike } from "../../src/torch/index.js";
import { close } from "../golden.js";
import { coldOf, degradationNamed, levelsOf, vcdOf } from "./stub.js";

/** A network that is a formula of its input and the levels it is told, from 1 for the first degraded one. */
class Formula extends Module {
  readonly weight = new Parameter([1], constant(1));
  readonly latentSize = 3;
  readonly #of: (x: Tensor, level: Tensor, to: Tensor) => Tensor;

  constructor(of: (x: Tensor, level: Tensor, to: Tensor) => Tensor) {
    super();
    this.#of = of;
  }

  forward(x: Tensor, { t, t2 }: LevelTimes): Tensor {
    return this.#of(x, t.add(1), t2.add(1)).mul(this.weight.value);
  }

  encode(x: Tensor): { mean: Tensor; logVariance: Tensor } {
    const mean = x.flatten(1).narrow(1, 0, 3);
    return { mean, logVariance: zerosLike(mean) };
  }
}

const draw = (seed: number, count = 3) =>
  randn([count, 1, 12, 12], new Generator({ seed }), { dtype: "float64" });
const x0 = draw(1).sigmoid();
const levels = 6;
const blackBlur = degradationNamed("black_blur", levels);
const blur = new HeatBlur({ levels });
const within = (actual: Tensor, expected: Tensor, absolute: number, what: string) =>
  close(actual, expected, 0, what, { absolute });
const all = (level: number, count = 3) =>
  levelsOf(
    zerosLike(draw(1, count))
      .flatten(1)
      .select(1, 0)
      .add(level - 1),
  ).from;
const at = (degradation: Degradation, x: Tensor, level: number) =>
  degradation.degrade(x, all(level, x.dim(0)));
const noNoise = () => {
  throw new Error("expected no noise to be drawn");
};
const last = <T>(states: Iterable<T>): T => [...states].at(-1) as T;
const zero = new Formula((x) => zerosLike(x));

describe("a teacher's path", () => {
  const wanted = [6, 4, 1];
  const true_ = stack(wanted.map((level, i) => at(blackBlur, x0, level).select(0, i)));

  test("a perfect teacher leads along the true states", () => {
    const states = teacherStates({
      ...{ degradation: blackBlur, x0, levels: wanted },
      reset: () => false,
      teacher: ({ target }) => target,
    });
    within(states, true_, 1e-12, "states");
  });

  test("one that does nothing leaves the last state", () => {
    const states = teacherStates({
      ...{ degradation: blackBlur, x0, levels: wanted },
      reset: () => false,
      teacher: ({ x }) => x,
    });
    within(states, at(blackBlur, x0, levels), 0, "states");
  });

  test("reset always, each state is one step from the true one above it", () => {
    const states = teacherStates({
      ...{ degradation: blackBlur, x0, levels: wanted },
      reset: () => true,
      teacher: ({ x, level }) => x.mul(0.5).add(level),
    });
    const expected = wanted.map((level, i) =>
      (level === levels
        ? at(blackBlur, x0, levels)
        : at(blackBlur, x0, level + 1)
            .mul(0.5)
            .add(level + 1)
      ).select(0, i),
    );
    within(states, stack(expected), 1e-12, "states");
  });

  test("an image is led no further than its own level", () => {
    const seen: number[][] = [];
    teacherStates({
      ...{ degradation: blackBlur, x0, levels: wanted },
      reset: () => false,
      teacher({ x, rows }) {
        seen.push([...rows]);
        return x;
      },
    });
    expect(seen).toEqual([[1, 2], [1, 2], [2], [2], [2]]);
  });
});

describe("training", () => {
  const drawn = levelsOf(zerosLike(x0).flatten(1).select(1, 0).add(2));
  const epsilon = draw(5).flatten(1).narrow(1, 0, 3);

  test("white noise of no deviation is none", () => {
    const f = new Formula((x, level) => x.mul(0.3).sub(perImage(level)));
    const [plain, white] = (["none", "vwd"] as const).map((perturbation) =>
      vcdOf(f, { degradation: blackBlur, perturbation }).objectiveAt(
        { x0, ...drawn, noise: draw(3), overlooked: draw(4), epsilon },
        { pass: {}, step: 0 },
      ),
    );
    within(white?.loss as Tensor, plain?.loss as Tensor, 0, "loss");
  });

  test("the divergence is that of its closed form", () => {
    const { terms } = vcdOf(zero, { degradation: blackBlur }).objectiveAt(
      { x0, ...drawn, noise: draw(3), overlooked: draw(4), epsilon },
      { pass: {}, step: 0 },
    );
    // mean mu = the input's first pixels, variance 1: 1/2 sum mu^2
    const mu = at(blackBlur, x0, 3).flatten(1).narrow(1, 0, 3);
    within(terms.divergence as Tensor, mu.square().sum([1]).mul(0.5), 1e-12, "divergence");
  });

  test("input noise costs its variance in every dimension where nothing is predicted", () => {
    const sigma = 0.3;
    const many = x0.narrow(0, 0, 1).expand([4000, 1, 12, 12]);
    const system = coldOf(zero, { degradation: blur, inputNoise: sigma });
    const from = all(3, 4000);
    const noise = draw(6, 4000);
    const { perExample } = system.objectiveAt(
      { x0: many, from, to: from.sub(1), toLevels: [], noise, overlooked: noise },
      { pass: {} },
    );
    const clean = at(blur, x0, 2)
      .sub(at(blur, x0, 3))
      .narrow(0, 0, 1)
      .square()
      .sum()
      .item();
    const values = perExample.toArray();
    const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
    const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (values.length - 1);
    expect(Math.abs(mean - (clean + sigma ** 2 * 144))).toBeLessThan(4 * Math.sqrt(variance / values.length));
  });
});

describe("walking back", () => {
  /** Knows the images, and what lies between two of their states. */
  const perfect = (degradation: Degradation) =>
    new Formula((x, _, to) => degradation.degrade(x0, to.to("int64")).sub(x));

  test.each([1, 2, 3, 4, 6])("a perfect model in jumps of %i returns the images", (jump) => {
    const system = coldOf(perfect(blackBlur), { degradation: blackBlur });
    const start = at(blackBlur, x0, levels);
    within(
      last(system.walk(start, { sampler: "ancestral", jump, pass: {}, noise: noNoise })),
      x0,
      1e-12,
      "image",
    );
  });

  test("a model of nothing returns the start", () => {
    const system = coldOf(zero, { degradation: blackBlur });
    within(last(system.walk(x0, { sampler: "ancestral", pass: {}, noise: noNoise })), x0, 0, "image");
  });

  test("noise comes at every step but the last", () => {
    const system = coldOf(zero, { degradation: blur, stepNoise: 0.5 });
    const used: number[] = [];
    const noise = (i: number) => {
      used.push(i);
      return draw(i);
    };
    const image = last(system.walk(x0, { sampler: "ancestral", pass: {}, noise }));
    expect(used).toEqual([0, 1, 2, 3, 4]);
    within(
      image,
      used.reduce((x, i) => x.add(draw(i).mul(0.5)), x0),
      1e-12,
      "image",
    );
  });

  /** `D(x, k) = x + k e` */
  const shift = draw(9, 1).mul(0.1);
  const shifting: Degradation = {
    levels,
    end: "blurred",
    degrade: (x, level) => x.add(perImage(level.to("float64")).mul(shift)),
  };

  test("Algorithm 2 undoes a shift whatever is predicted; Algorithm 1 does not", () => {
    const wrong = new Formula((x, level) => x.sin().add(perImage(level)));
    const system = coldOf(wrong, { degradation: shifting, prediction: "x0" });
    const start = at(shifting, x0, levels);
    const image = (sampler: string) => last(system.walk(start, { sampler, pass: {}, noise: noNoise }));
    within(image("algorithm-2"), x0, 1e-12, "Algorithm 2");
    expect(() => within(image("algorithm-1"), x0, 0.1, "Algorithm 1")).toThrow();
  });

  test("a constant error e ends as (1 - D_T) e, as e where all turns black, and as e by Algorithm 1", () => {
    const e = draw(10, 1).mul(0.1);
    const offByE = new Formula(() => x0.add(e));
    for (const [degradation, expected] of [
      [blur, e.sub(at(blur, e, levels))],
      [blackBlur, e],
    ] as const) {
      const system = coldOf(offByE, { degradation, prediction: "x0" });
      const start = at(degradation, x0, levels);
      const error = (sampler: string) =>
        last(system.walk(start, { sampler, pass: {}, noise: noNoise }))
          .sub(x0)
          .narrow(0, 0, 1);
      within(error("algorithm-2"), expected, 1e-12, "Algorithm 2");
      within(error("algorithm-1"), e, 1e-12, "Algorithm 1");
    }
  });

  test("re-degradation from a jump over all levels is Algorithm 2", () => {
    const f = new Formula((x, level) => x.mul(-0.2).add(perImage(level).mul(0.01)));
    const system = coldOf(f, { degradation: blackBlur });
    const start = at(blackBlur, x0, levels);
    const walk = (sampler: string, jump: number) => [
      ...system.walk(start, { sampler, jump, pass: {}, noise: noNoise }),
    ];
    within(stack(walk("redegrade", levels)), stack(walk("algorithm-2", 1)), 1e-12, "states");
  });

  test("heat and fading go on from where they are", () => {
    for (const degradation of [blur, new Fading(levels), new Fading(blur)])
      for (const [from, to] of [
        [1, 3],
        [2, 5],
        [4, 5],
      ] as const)
        within(
          degradation.degradeFurther(at(degradation, x0, from), from, to),
          at(degradation, x0, to),
          1e-9, // divided by what fading left, 0.09 at the least
          `${from} to ${to}`,
        );
  });

  test("levels are visited from the last down to the image", () => {
    const visits = (jump: number, sampler = "ancestral") =>
      levelsVisited(7, { sampler, jump }).map(({ from, to }) => [from, to]);
    expect(visits(3)).toEqual([
      [7, 4],
      [4, 1],
      [1, 0],
    ]);
    expect(visits(7)).toEqual([[7, 0]]);
    expect(visits(3, "redegrade")).toHaveLength(7);
  });
});

describe("added noise", () => {
  const degradation = new AddedNoise({ levels: 20 });
  const abar = (level: number) => degradation.alphasCumprod[level] as number;
  /** The noise that makes x of these images. */
  const exact = new Formula((x, level) => {
    const shares = level.toArray().map(abar);
    const signal = perImage(stack(shares.map((a) => zerosLike(x).flatten().select(0, 0).add(Math.sqrt(a)))));
    return x.sub(x0.mul(signal)).div(signal.square().rsub(1).sqrt());
  });

  test("with the exact noise of single images the posterior ends at them", () => {
    const system = coldOf(exact, { degradation, prediction: "eps" });
    const noise = (i: number) => draw(20 + i);
    within(last(system.walk(draw(2), { sampler: "ancestral", pass: {}, noise })), x0, 1e-9, "image");
  });

  test("Algorithm 2 with the noise as estimated is DDIM", () => {
    const wrong = new Formula((x, level) => x.mul(0.6).add(perImage(level).mul(0.01)));
    const system = coldOf(wrong, { degradation, prediction: "x0" });
    const states = [...system.walk(draw(2), { sampler: "algorithm-2", pass: {}, noise: noNoise })];
    for (let k = 20; k > 1; k--) {
      const x = states[20 - k] as Tensor;
      const xHat = x.mul(0.6).add(k * 0.01);
      const eps = x.sub(xHat.mul(Math.sqrt(abar(k)))).div(Math.sqrt(1 - abar(k)));
      const next = xHat.mul(Math.sqrt(abar(k - 1))).add(eps.mul(Math.sqrt(1 - abar(k - 1))));
      within(states[21 - k] as Tensor, next, 1e-9, `level ${k}`);
    }
  });

  test("with the true noise held fast a perfect model returns the images", () => {
    const system = coldOf(new Formula(() => x0), { degradation, prediction: "x0" });
    const n = draw(2);
    const start = x0.mul(Math.sqrt(abar(20))).add(n.mul(Math.sqrt(1 - abar(20))));
    // The walk's first state is what it takes for the noise: all but the rest of the image.
    const end = last(system.walk(start, { sampler: "fixed-noise", pass: {}, noise: noNoise }));
    const leftOver = start
      .sub(n)
      .mul(Math.sqrt(1 - abar(20)))
      .neg();
    within(end, x0.add(leftOver), 1e-9, "image");
  });
});

describe("samples", () => {
  const request = (shared: readonly ("start" | "noise")[]) => ({
    ...{ count: 4, steps: levels, sampler: "ancestral", pass: {}, streams: new Streams(3), shared },
  });
  const spread = (images: Tensor) => {
    const x = images.to("float64");
    return x
      .sub(x.narrow(0, 0, 1))
      .abs()
      .max()
      .item();
  };

  test("of one start and one noise are one image; of one of them they are not", async () => {
    const grow = new Formula((x) => x.mul(0.2));
    const system = coldOf(grow, { degradation: blur, stepNoise: 0.2, startNoise: 0.3 });
    const images = (shared: readonly ("start" | "noise")[]) => sample(system, request(shared));
    expect(spread(await images(["start", "noise"]))).toBe(0);
    expect(spread(await images(["start"]))).toBeGreaterThan(0);
    expect(spread(await images(["noise"]))).toBeGreaterThan(0);
  });

  test("a number of steps that levels do not come to is refused", () => {
    const system = coldOf(zero, { degradation: blur });
    expect(() => system.checkSampling({ sampler: "ancestral", steps: 4 })).toThrow(/one of 6, 3, 2, 1 steps/);
    expect(() => system.checkSampling({ sampler: "ancestral", steps: 3, jump: 3 })).toThrow(
      /expected 2 steps/,
    );
    expect(() => system.checkSampling({ sampler: "ancestra", steps: 6 })).toThrow(/did you mean "ancestral"/);
    system.checkSampling({ sampler: "redegrade", steps: 6, jump: 3 });
  });
});

test("the terms of a perfect model are what differing noises cost", () => {
  const noise = { forward: 0.01, reverse: 0.0125, dimensions: 144 };
  const ratio = (0.01 / 0.0125) ** 2;
  const none = zerosLike(x0).flatten(1).select(1, 0);
  within(heatStepTerm(none, noise), none.add(72 * (ratio - 1 - Math.log(ratio))), 1e-9, "KL");
  within(heatStepTerm(none, { ...noise, reverse: 0.01 }), none, 1e-12, "none");
});
