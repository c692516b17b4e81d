/** Per-pixel schedules rise between their ends whatever z and the weights are, and their derivatives are derivatives. */
import { describe, expect, test, vi } from "vitest";
import {
  type ConditionalScheduleConfig,
  conditionalScheduleSchema,
  createConditionalSchedule,
  fixedEnds,
  LearnedEnds,
  PolynomialSchedule,
  polynomialCurve,
  replaced,
  scheduleEnds,
  sigmoidCurve,
  squaredIntegral,
} from "../../src/diffusion/schedule/conditional/index.js";
import type { Module } from "../../src/nn/index.js";
import {
  full,
  Generator,
  grad,
  linspace,
  noGrad,
  rand,
  randn,
  Streams,
  type Tensor,
  tensor,
  zeros,
} from "../../src/torch/index.js";
import { close, same } from "../golden.js";

const float64 = { dtype: "float64" } as const;
const ends = { gammaMin: -13.3, gammaMax: 5 };
const context = { latentSize: 6, dimensions: 5 };

function make(config: unknown, dtype: "float32" | "float64" = "float64") {
  const parsed = conditionalScheduleSchema.parse(config);
  return createConditionalSchedule(parsed, context).initialise(new Streams(1), { dtype });
}

/** Random weights in the place of the first ones, so that nothing is zero that need not be. */
function shaken<M extends Module>(schedule: M): M {
  const generator = new Generator({ seed: 2 });
  noGrad(() => {
    for (const [name, parameter] of schedule.namedParameters())
      if (!/^(ends|line|schedule)\b/.test(name))
        parameter.value.copy_(randn(parameter.shape, generator, float64).mul(0.5));
  });
  return schedule;
}

const fixed = [
  { kind: "polynomial" },
  { kind: "polynomial", pixels: "mean" },
  { kind: "polynomial", form: "unit" },
  { kind: "sigmoid" },
  { kind: "linear" },
  { kind: "shared", schedule: { kind: "monotone-paper", hidden: 16 } },
];
const movable = [
  { kind: "polynomial", ends: "learned" },
  { kind: "scalar-polynomial" },
  { kind: "monotone", hidden: 7 },
  { kind: "sigmoid", ends: "learned" },
  { kind: "affine-sigmoid" },
];
const all = [...fixed, ...movable].map((config) => [JSON.stringify(config), config] as const);

const z = randn([4, 6], new Generator({ seed: 3 }), float64);

test.each(fixed.map((config) => [JSON.stringify(config), config] as const))(
  "%s keeps its ends",
  (_, config) => {
    const curve = shaken(make(config)).given(z);
    const at = (t: number) => curve.at(full([4], t, float64)).gamma;
    close(at(0), at(0).mul(0).add(-13.3), 0, "gamma(0)", { rule: "relative", absolute: 1e-12 });
    close(at(1), at(1).mul(0).add(5), 0, "gamma(1)", { rule: "relative", absolute: 1e-12 });
  },
);

describe.each(all)("%s", (_, config) => {
  const schedule = shaken(make(config));
  const curve = schedule.given(z);
  const grid = (count: number) => linspace(0, 1, count, float64);
  /** Along `t` `[N]` for the first latent. */
  const along = (t: Tensor) => schedule.given(z.narrow(0, 0, 1)).at(t);

  test("never falls", () => {
    const { gamma, dGamma } = along(grid(1001));
    const rises = gamma.slice(0, 1).sub(gamma.slice(0, 0, 1000));
    expect(rises.min().item()).toBeGreaterThan(-1e-13); // rounding of values up to 100
    expect(dGamma.min().item()).toBeGreaterThanOrEqual(0);
  });

  test("its derivative is the limit of differences, and autograd's", () => {
    const t = linspace(0.01, 0.99, 50, float64);
    const h = 1e-5; // off by h^2 gamma''' / 6 and 1e-15 / h
    const difference = along(t.add(h))
      .gamma.sub(along(t.sub(h)).gamma)
      .div(2 * h);
    close(along(t).dGamma, difference, 1e-6, "gamma' and differences");
    const time = t.clone().requireGrad();
    const value = along(time);
    const [gradient] = grad([value.gamma.sum()], [time]);
    close(gradient, value.dGamma.sum([1]), 1e-12, "gamma' and autograd");
  });

  test("values are of every pixel, or of all", () => {
    const shared = /mean|scalar|linear|shared/.test(JSON.stringify(config));
    const { gamma, dGamma } = curve.at(rand([4], new Generator({ seed: 4 }), float64));
    expect(gamma.shape).toEqual([4, shared ? 1 : 5]);
    expect(dGamma.expand(gamma.shape).shape).toEqual(gamma.shape);
    expect(curve.at(rand([4], new Generator({ seed: 4 }))).gamma.dtype).toBe("float32");
  });

  test("neighbouring levels keep their digits where the weights are float32", () => {
    const at = make(config, "float32").given(z.narrow(0, 0, 1).to("float32")).at;
    const { gamma } = at(tensor([0.5, 0.5 + 1e-9], float64));
    const difference = gamma
      .narrow(0, 1, 1)
      .sub(gamma.narrow(0, 0, 1))
      .div(1e-9);
    const slope = at(tensor([0.5], float64)).dGamma;
    close(difference, slope.expand(difference.shape), 1e-4, "slope");
  });
});

test.each(all.filter(([, { kind }]) => kind !== "linear" && kind !== "shared"))(
  "%s: every weight, and z, has a gradient",
  (_, config) => {
    const schedule = shaken(make(config));
    const latent = z.clone().requireGrad();
    const { gamma, dGamma } = schedule.given(latent).at(tensor([0.1, 0.4, 0.7, 0.9], float64));
    const inputs = [...schedule.values(), ["z", latent] as const];
    const gradients = grad(
      [gamma.square().add(dGamma).sum()],
      inputs.map(([, value]) => value),
    );
    const without = inputs.filter((_, i) => !((gradients[i]?.abs().max().item() ?? 0) > 0));
    expect(without.map(([name]) => name)).toEqual([]);
  },
);

describe("polynomial", () => {
  const draw = (seed: number) => randn([7, 3], new Generator({ seed }), float64).mul(3);
  const a = draw(5);
  const b = draw(6);
  const d = draw(7).abs().add(1e-3);

  test("the normaliser is the integral", () => {
    const expanded = a
      .square()
      .div(5)
      .add(a.mul(b).div(2))
      .add(b.square().add(a.mul(d).mul(2)).div(3))
      .add(b.mul(d))
      .add(d.square());
    close(squaredIntegral({ a, b, d }), expanded, 1e-13, "S", { absolute: 1e-13 });
    // The smallest S of all quadratics with p(0) = 1 is 1/9, that of 10/3 t^2 - 4 t + 1.
    const [least] = squaredIntegral({
      a: tensor([10 / 3], float64),
      b: tensor([-4], float64),
      d: tensor([1], float64),
    }).toArray();
    close([least ?? 0], [1 / 9], 1e-14, "least S");
  });

  test("without a and b it is a line, whatever d", () => {
    const none = zeros([7, 3], float64);
    const t = rand([7], new Generator({ seed: 8 }), float64);
    const { gamma, dGamma } = polynomialCurve({ a: none, b: none, d }, fixedEnds(ends)).at(t);
    close(gamma, t.mul(18.3).sub(13.3).unsqueeze(1).expand([7, 3]), 1e-14, "gamma");
    close(dGamma, full([7, 3], 18.3, float64), 1e-14, "gamma'");
  });

  test("a common factor of the coefficients changes nothing", () => {
    const t = rand([7], new Generator({ seed: 9 }), float64);
    const once = polynomialCurve({ a, b, d }, fixedEnds(ends)).at(t);
    const twice = polynomialCurve({ a: a.mul(2), b: b.mul(2), d: d.mul(2) }, fixedEnds(ends)).at(t);
    same(twice.gamma, once.gamma, "gamma");
    same(twice.dGamma, once.dGamma, "gamma'");
  });

  test("its derivative stays below the bound of quadratics of unit norm", () => {
    // Squared, the Legendre polynomials' values at t bound p(t)^2 / S (Cauchy-Schwarz): 9 at the ends, 9/4 in the middle.
    const curve = polynomialCurve(
      { a: a.reshape([1, 21]), b: b.reshape([1, 21]), d: d.reshape([1, 21]) },
      fixedEnds(ends),
    );
    const t = linspace(0, 1, 101, float64);
    const x2 = t.mul(2).sub(1).square();
    const bound = x2.mul(3).add(1).add(x2.mul(3).sub(1).div(2).square().mul(5)).mul(18.3);
    const excess = curve.at(t).dGamma.max([1]).sub(bound);
    expect(excess.max().item()).toBeLessThan(1e-10);
  });

  test("it may pause: a double zero of gamma'", () => {
    const at = (value: number) => tensor([[value]], float64);
    const curve = polynomialCurve({ a: at(1), b: at(-1), d: at(0.25) }, fixedEnds(ends));
    const { gamma, dGamma } = curve.at(tensor([0.5], float64));
    close([gamma.item()], [(5 - 13.3) / 2], 1e-14, "gamma halfway, by symmetry");
    expect(dGamma.item()).toBe(0);
  });

  test("starts with a = 0 and d > 0, and as wide as there are pixels", () => {
    const schedule = new PolynomialSchedule({ ...ends, ...context }).initialise(new Streams(1), float64);
    const coefficients = schedule.coefficients(z);
    same(coefficients.a, zeros([4, 5], float64), "a");
    expect(coefficients.d.min().item()).toBeGreaterThan(1e-3);
    // 50 -> 3072 -> 3072 -> three times 3072, with biases: the count in MuLAN's specification
    const official = new PolynomialSchedule({ ...ends, latentSize: 50, dimensions: 3072 });
    expect(official.parameterCount()).toBe(37_917_696);
  });

  test("the network runs once for all times", () => {
    const schedule = new PolynomialSchedule({ ...ends, ...context }).initialise(new Streams(1), float64);
    const forward = vi.spyOn(schedule.network, "forward");
    const curve = schedule.given(z);
    for (const t of [0, 0.5, 1]) curve.at(full([4], t, float64));
    expect(forward).toHaveBeenCalledTimes(1);
  });

  test("without a latent: z = 0 gives every image the same curves", () => {
    const { gamma } = shaken(make({ kind: "polynomial" }))
      .given(zeros([4, 6], float64))
      .at(full([4], 0.3, float64));
    close(gamma, gamma.narrow(0, 0, 1).expand([4, 5]), 1e-14, "gamma");
    expect(gamma.select(0, 0).variance().item()).toBeGreaterThan(0);
  });

  test("the mean over pixels is that of the curves of each", () => {
    const t = rand([4], new Generator({ seed: 10 }), float64);
    const each = shaken(make({ kind: "polynomial" })).given(z);
    const mean = shaken(make({ kind: "polynomial", pixels: "mean" })).given(z);
    close(mean.at(t).gamma, each.at(t).gamma.mean([1], { keepDims: true }), 1e-14, "option");
    same(replaced(each, "mean", ends).at(t).gamma, mean.at(t).gamma, "replacement");
    same(replaced(each, "mean", ends).at(t).dGamma, mean.at(t).dGamma, "replacement's gamma'");
  });
});

test("a line in the place of a trained curve", () => {
  const trained = shaken(make({ kind: "polynomial" })).given(z);
  const { gamma, dGamma } = replaced(trained, "linear", { gammaMin: -4, gammaMax: 2 }).at(
    tensor([0, 0.25, 1], float64),
  );
  same(gamma, tensor([[-4], [-2.5], [2]], float64), "gamma");
  same(dGamma, tensor([[6], [6], [6]], float64), "gamma'");
});

test("the monotone network never falls in an entry of z", () => {
  const schedule = shaken(make({ kind: "monotone", hidden: 7 }));
  const t = full([4], 0.6, float64);
  for (let i = 0; i < 6; i++) {
    const step = zeros([6], float64);
    step.select(0, i).copy_(tensor(0.5, float64));
    const rise = schedule.given(z.add(step)).at(t).gamma.sub(schedule.given(z).at(t).gamma);
    expect(rise.min().item()).toBeGreaterThan(0);
  }
});

test("a sigmoid that is almost a line keeps its digits", () => {
  // (s(wt + b) - s(b)) / (s(w + b) - s(b)) = t - t (1 - t) w / 2 (1 - 2 s(b)) + O(w^2), of which w = 1e-9 leaves t
  const w = full([3, 1], 1e-9, float64);
  const b = tensor([[-2], [0], [3]], float64);
  const t = tensor([0.1, 0.5, 0.8], float64);
  const { gamma, dGamma } = sigmoidCurve(w, b, { gamma0: 0, range: 1 }).at(t);
  close(gamma, t.reshape([3, 1]), 1e-9, "gamma");
  close(dGamma, [1, 1, 1], 1e-9, "gamma'");
});

test("learned ends start where they are told, and a negative range rises too", () => {
  const learned = new LearnedEnds(2, ends).initialise(new Streams(1), float64);
  const values = () => {
    const { gamma0, range } = learned.get();
    return [gamma0, range].flatMap((value) => (typeof value === "number" ? value : value.toArray()));
  };
  close(values(), [-13.3, -13.3, 18.3, 18.3], 1e-15, "ends");
  noGrad(() => learned.range.value.mul_(-1));
  close(values(), [-13.3, -13.3, 18.3, 18.3], 1e-15, "ends");
});

describe("configs", () => {
  test.each(["polynomial", "scalar-polynomial", "monotone", "sigmoid", "affine-sigmoid", "linear"])(
    "%s goes from -13.3 to 5 where nothing else is said, and never down",
    (kind) => {
      expect(scheduleEnds(conditionalScheduleSchema.parse({ kind }))).toMatchObject(ends);
      expect(() => conditionalScheduleSchema.parse({ kind, gammaMin: 6 })).toThrow(/gammaMin below gammaMax/);
    },
  );

  test("a shared schedule has the ends of the one it shares", () => {
    const config: ConditionalScheduleConfig = conditionalScheduleSchema.parse({
      kind: "shared",
      schedule: { kind: "learned-linear", gammaMin: -7, gammaMax: 3 },
    });
    expect(scheduleEnds(config)).toMatchObject({ gammaMin: -7, gammaMax: 3 });
    expect(() =>
      conditionalScheduleSchema.parse({ kind: "shared", schedule: { kind: "fixed", gammaMin: 6 } }),
    ).toThrow(/gammaMin below gammaMax/);
  });
});
