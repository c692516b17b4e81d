/** A schedule that depends on the class or the image: its bound, what it equals where the guess is right, and why it grows. */
import { describe, expect, test } from "vitest";
import type { Denoiser } from "../../src/diffusion/denoiser.js";
import type { LatentEncoder } from "../../src/diffusion/encoder.js";
import { sample } from "../../src/diffusion/index.js";
import {
  type ConditionalSchedule,
  PolynomialSchedule,
  SigmoidSchedule,
} from "../../src/diffusion/schedule/conditional/index.js";
import { type BoundContext, hasBound, hasFlow } from "../../src/diffusion/system.js";
import { UserError } from "../../src/errors.js";
import { Linear, Module } from "../../src/nn/index.js";
import { createSystem, systems } from "../../src/systems/index.js";
import { ContextMuLAN } from "../../src/systems/mulan-context.js";
import {
  cat,
  Generator,
  liveTensors,
  noGrad,
  randint,
  randn,
  Streams,
  scope,
  type Tensor,
  tensor,
} from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { collectGarbage } from "../garbage.js";
import { close } from "../golden.js";
import { ends, everyStep, float64, quadrature } from "./points.js";

const [D, m, count] = [3, 4, 5];
const shape = [D];
const draw = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }), float64);
const x = randint(0, 256, [count, D], new Generator({ seed: 1 })).to("float64");
const f = x.add(0.5).div(128).sub(1);
const classes = tensor([0, 3, 1, 1, 2], float64);

/** x_hat = tanh(A z + b) / 10. */
class Net extends Module implements Denoiser {
  readonly map = new Linear(D, D);

  forward(z: Tensor): Tensor {
    return this.map.forward(z).tanh().mul(0.1);
  }
}

/** x_hat is the same always. */
class Constant extends Net {
  readonly #x: Tensor;

  constructor(x: Tensor) {
    super();
    this.#x = x;
    this.initialise(new Streams(1), float64);
  }

  override forward(z: Tensor): Tensor {
    return this.#x.expand(z.shape);
  }
}

/** Logits from an image. */
class Says extends Module implements LatentEncoder {
  readonly #logits: (x: Tensor) => Tensor;

  constructor(logits: (x: Tensor) => Tensor) {
    super();
    this.#logits = logits;
  }

  forward(image: Tensor): Tensor[] {
    return [this.#logits(image)];
  }
}

const sizes = { latentSize: m, dimensions: D, hidden: 8 };
const random = <S extends ConditionalSchedule>(schedule: S, deviation: number): S =>
  disturb(schedule.initialise(new Streams(1), float64), 2, deviation);
const polynomial = random(new PolynomialSchedule({ ...ends, ...sizes }), 0.7);
const net = () => disturb(new Net().initialise(new Streams(1), float64), 3, 0.3);
const always = (logits: readonly number[]) =>
  new Says((image) => tensor([[...logits]], float64).expand([image.dim(0), m]));

interface Parts {
  readonly context: "x0" | "class";
  readonly encoder: LatentEncoder;
  readonly denoiser?: Denoiser;
  readonly schedule?: ConditionalSchedule;
}

const make = (parts: Parts) =>
  new ContextMuLAN({ shape, schedule: polynomial, denoiser: net(), ends, steps: 10, ...parts });

const some = {
  t: tensor([0.05, 0.3, 0.5, 0.72, 0.98], float64),
  eps: draw([count, D], 4),
  eps0: draw([count, D], 5),
};

describe("a guess that is right leaves VDM's loss, 1/2 (nu_s - nu_t) (x0 - x_hat)^2 a step", () => {
  const cases = {
    "the image, of which the encoder says the same always": {
      parts: { context: "x0", encoder: always([1, -2, 0.5, 3]) },
      known: [1, -2, 0.5, 3].map((logit) => 1 / (1 + Math.exp(-logit))),
      condition: undefined,
    },
    "the class, guessed without a doubt": {
      parts: { context: "class", encoder: always([0, 0, 1000, 0]) },
      known: [0, 0, 1, 0],
      condition: tensor([2, 2, 2, 2, 2], float64),
    },
  } as const;

  test.each(Object.keys(cases) as (keyof typeof cases)[])("%s", (name) => {
    const { parts, known, condition } = cases[name];
    const denoiser = net();
    const system = make({ ...parts, denoiser });
    const curve = polynomial.given(tensor([[...known]], float64));
    for (const T of [1, 10, 1000]) {
      const { bound } = system.evaluate(x, some, { pass: {}, steps: T, condition });
      const i = some.t.mul(T).floor().add(1);
      const [gammaT, gammaS] = [i.div(T), i.sub(1).div(T)].map((time) => curve.at(time).gamma);
      if (!gammaT || !gammaS) throw new Error("expected two levels");
      const zt = gammaT.neg().sigmoid().sqrt().mul(f).add(gammaT.sigmoid().sqrt().mul(some.eps));
      const error = f.sub(denoiser.forward(zt)).square();
      const expected = gammaS
        .neg()
        .exp()
        .sub(gammaT.neg().exp())
        .mul(error)
        .sum([1])
        .mul(T / 2);
      close(bound.diffusion, expected, 1e-8, `T = ${T}`); // near t = 0 the SNRs cancel to 1/T of themselves
    }
  });
});

test("the known class chooses the schedule of each image", () => {
  const system = make({ context: "class", encoder: always([0, 0, 0, 0]) });
  const streams = () => new Streams(4);
  const t = tensor([0.2, 0.4, 0.5, 0.6, 0.8], float64);
  const noised = system.noised({ pixels: x, condition: classes }, t, streams());
  const oneHot = classes
    .unsqueeze(1)
    .eq(tensor([0, 1, 2, 3], float64))
    .to("float64");
  const { gamma } = polynomial.given(oneHot).at(t);
  const eps = randn([count, D], streams().generator("noise"), float64);
  const expected = gamma.neg().sigmoid().sqrt().mul(f).add(gamma.sigmoid().sqrt().mul(eps));
  close(noised, expected, 1e-12, "z_t");
  expect(() => system.evaluate(x, some, { pass: {} })).toThrow("expected the class of each image, got none");
});

test("where the guess is wrong the bound grows with T, by 1/2 (rho - 1 - ln rho) of the variances' ratio a step", () => {
  // The prediction is right but for a millionth, by which the encoder tells it from the image itself.
  const image = f.narrow(0, 0, 1);
  const [ofData, ofGuess] = [
    [-2, 1, 0, 3],
    [2, -1, 1, -3],
  ].map((row) => tensor([row], float64)) as [Tensor, Tensor];
  const encoder = new Says((seen) => {
    const predicted = seen.sub(image).max([1]).unsqueeze(1).ge(5e-7).to("float64");
    return predicted.mul(ofGuess).add(predicted.rsub(1).mul(ofData));
  });
  // A schedule that never pauses, as polynomials may: the ratio stays within bounds.
  const schedule = random(new SigmoidSchedule({ ...ends, ...sizes }), 1.5);
  const denoiser = new Constant(image.add(1e-6));
  const system = make({ context: "x0", encoder, denoiser, schedule });
  const chain = (T: number) => {
    const { points } = everyStep(T);
    const rows = x.narrow(0, 0, 1).expand([T, D]);
    const eps = rows.mul(0); // the ratio of variances does not depend on it
    const evaluation = noGrad(() =>
      system.evaluate(rows, { t: points, eps, eps0: eps }, { pass: {}, steps: T }),
    );
    return evaluation.bound.diffusion.mean().item();
  };
  const growth = (chain(8000) - chain(4000)) / 4000;

  // With steps of 1/T both variances tend to sigma^2 gamma' / T.
  const { points, weights } = quadrature(400);
  const [q, p] = [ofData, ofGuess].map((logits) => {
    const { gamma, dGamma } = schedule.given(logits.sigmoid()).at(points);
    return gamma.sigmoid().mul(dGamma);
  }) as [Tensor, Tensor];
  const rho = q.div(p);
  const limit = rho.sub(1).sub(rho.log()).sum([1]).mul(0.5).mul(weights).sum().item();
  expect(limit).toBeGreaterThan(0.01);
  expect(Math.abs(growth / limit - 1)).toBeLessThan(0.01);
});

describe("as a config builds it", () => {
  const built = (condition: "class" | "x0", steps: number) =>
    createSystem(
      {
        system: "mulan",
        model: systems.mulan.model.parse({
          condition,
          steps,
          schedule: { kind: "polynomial", hidden: 16 },
          latent: { kind: "k-hot", size: 6, k: 2 },
          encoder: { kind: "cnn" },
          network: { kind: "vdm-unet", channels: 64, depth: 1, attention: "none", dropout: 0 },
        }),
      },
      { shape: [1, 4, 4] },
    ).system;

  test.each(["class", "x0"] as const)("%s: continuous time is refused in one line", (condition) => {
    expect(() => built(condition, 0)).toThrow(
      new UserError(
        `expected model.steps above 0 with model.condition ${condition} (in continuous time the bound is infinite), got 0: set model.steps`,
      ),
    );
    const system = built(condition, 5).initialise(new Streams(1));
    if (!hasBound(system)) throw new Error("expected a bound");
    const context: BoundContext = { streams: new Streams(1), pass: {}, steps: 0 };
    const pixels = randint(0, 256, [2, 1, 4, 4], new Generator({ seed: 2 })).to("uint8");
    expect(() => system.bound({ pixels, condition: tensor([1, 7]) }, context)).toThrow(UserError);
    expect(hasFlow(system)).toBe(false);
    expect(system.noFlow).toMatch(/^its schedule depends on what the reverse process has to guess/);
  });

  test.each(["class", "x0"] as const)(
    "%s: the bound of a chain is finite, and every weight has a gradient",
    (condition) => {
      const system = disturb(built(condition, 5).initialise(new Streams(1)), 3);
      if (!hasBound(system)) throw new Error("expected a bound");
      const pixels = randint(0, 256, [4, 1, 4, 4], new Generator({ seed: 2 })).to("uint8");
      const batch = { pixels, condition: tensor([0, 9, 3, 3]) };
      for (const steps of [1, 10, 100]) {
        const bound = system.bound(batch, { streams: new Streams(1), pass: {}, steps });
        expect(Object.keys(bound)).toEqual(["reconstruction", "prior", "diffusion"]);
        const terms = cat(Object.values(bound).map((term) => term.detach().to("float64"))).toArray();
        for (const nats of terms) expect(Number.isFinite(nats) && nats >= 0).toBe(true);
      }
      const averaged = <R>(run: () => R) => run();
      const { loss } = system.objective(batch, { step: 0, streams: new Streams(1), pass: {}, averaged });
      loss.backward();
      const without = Array.from(system.namedParameters())
        .filter(([, { value }]) => !((value.grad?.abs().max().item() ?? 0) > 0))
        .map(([name]) => name);
      expect(without).toEqual([]);
    },
  );

  test.each(["class", "x0"] as const)(
    "%s: sampled by the driver, a seed repeats itself, nothing left behind",
    async (condition) => {
      const system = disturb(built(condition, 5).initialise(new Streams(1)), 3);
      const run = async (seed: number) => {
        const pixels = await sample(system, {
          count: 3,
          steps: 4,
          sampler: "ancestral",
          streams: new Streams(seed),
          pass: {},
        });
        const values = scope(() => pixels.toArray());
        expect(pixels.toString()).toBe("uint8[3, 1, 4, 4]");
        pixels.dispose();
        return values;
      };
      collectGarbage();
      const before = liveTensors();
      const first = await run(5);
      collectGarbage();
      expect(liveTensors()).toBe(before);
      expect(await run(5)).toEqual(first);
      expect(await run(6)).not.toEqual(first);
    },
  );
});
