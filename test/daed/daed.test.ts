/** DAED: which network answers for which step, what each part is trained on, and each part by itself. */
import { describe, expect, test } from "vitest";
import {
  type ChainLoss,
  GaussianChain,
  linearBetas,
  linearCombineBetas,
  type StepSampling,
  sample,
} from "../../src/diffusion/index.js";
import { UserError } from "../../src/errors.js";
import { constant, Parameter } from "../../src/nn/index.js";
import { DAED, type DaedOptions } from "../../src/systems/index.js";
import {
  cat,
  full,
  Generator,
  noGrad,
  randint,
  randn,
  Streams,
  type Tensor,
  tensor,
} from "../../src/torch/index.js";
import { close } from "../golden.js";
import { eps, Weighted } from "./networks.js";
import { Formula, toy1, toy2 } from "./toys.js";

const float64 = { dtype: "float64" } as const;
const shape = [1, 3, 3] as const;
const T = 30;
const beta1 = 0.1;
const betas = linearCombineBetas(T, beta1);

function daed(o: Partial<DaedOptions> = {}): DAED {
  const parts = { denoiser: new Weighted(toy1), generator: new Weighted(toy1) };
  const settings = { type: eps("fixed-large"), loss: "simple", sampling: "dae-uniform" } as const;
  return new DAED({ shape, betas, ...settings, ...parts, ...o }).initialise(new Streams(0), float64);
}

const generator = new Generator({ seed: 1 });
function points(steps: readonly number[]) {
  const x0 = randint(0, 256, [steps.length, ...shape], generator, float64)
    .div(127.5)
    .sub(1);
  return { x0, t: tensor(steps, { dtype: "int64" }), noise: randn(x0.shape, generator, float64) };
}
const gradientOf = (network: Weighted) => network.weight.value.grad;

/** Notes what a network was asked: the numbers of the steps, in order. */
class Asked extends Formula {
  readonly weight = new Parameter([1], constant(1));
  readonly told: number[][] = [];

  constructor(of: (x: Tensor, t: Tensor) => Tensor = (x) => x.mul(0)) {
    super(of);
  }

  override forward(x: Tensor, t: Tensor): Tensor {
    this.told.push(t.toArray());
    return super.forward(x, t);
  }
}

describe("which network", () => {
  test("the denoiser for step 0, the generator for the others, each with its own numbers", () => {
    const [denoiser, other] = [new Asked((x) => x.mul(2)), new Asked((x, t) => x.mul(0).add(t))];
    const system = daed({ denoiser, generator: other });
    const { x0, t } = points([3, 0, 29, 0, 7]);
    const out = system.outputAt(system.chain, x0, t, { pass: {} });
    expect([denoiser.told, other.told]).toEqual([[[0, 0]], [[3, 29, 7]]]);
    const expected = cat(
      [3, 0, 29, 0, 7].map((step, i) => {
        const image = x0.narrow(0, i, 1);
        return step === 0 ? image.mul(2) : image.mul(0).add(step);
      }),
      0,
    );
    close(out, expected, 0, "out", { rule: "relative" });
  });

  test("one that has no images is not called", () => {
    const [denoiser, other] = [new Asked(), new Asked()];
    const system = daed({ denoiser, generator: other });
    system.outputAt(system.chain, points([0, 0]).x0, points([0, 0]).t, { pass: {} });
    expect([denoiser.told.length, other.told.length]).toEqual([1, 0]);
    system.outputAt(system.chain, points([5]).x0, points([5]).t, { pass: {} });
    expect([denoiser.told.length, other.told.length]).toEqual([1, 1]);
  });

  test("one that predicts variances beside one that does not", () => {
    const { x0, t } = points([0, 4]);
    const wide = daed({ type: eps("learned-range"), generator: new Weighted(toy2) });
    const out = wide.outputAt(wide.chain, x0, t, { pass: {} });
    expect(out.shape).toEqual([2, 2, 3, 3]);
    close(out.narrow(0, 0, 1).narrow(1, 1, 1), x0.narrow(0, 0, 1).mul(0), 0, "v of the denoiser");
    const narrow = daed({ denoiser: new Weighted(toy2) });
    close(narrow.outputAt(narrow.chain, x0, t, { pass: {} }), out.narrow(1, 0, 1), 0, "mean", {
      rule: "relative",
    });
  });
});

describe("training", () => {
  test("simple: the denoiser's loss is (1 - b1) / b1 times the squared error of the image it sees", () => {
    const system = daed();
    const point = points([0, 0, 0]);
    const { perExample } = system.objectiveAt(point, { pass: {} });
    const x1 = point.x0.mul(Math.sqrt(1 - beta1)).add(point.noise.mul(Math.sqrt(beta1)));
    const error = system.denoise(x1, { pass: {} }).sub(point.x0).square().flatten(1).mean([1]);
    close(perExample, error.mul((1 - beta1) / beta1), 1e-11, "loss", { rule: "relative" });
  });

  test("under the bound: T - 1 times that squared error, whatever is said of variances", () => {
    const point = points([0, 0]);
    const wild = (x: Tensor, t: Tensor) => cat([toy1(x, t), x.mul(50)], 1);
    const losses = [toy2, wild].map((toy) => {
      const system = daed({ ...{ type: eps("learned-range"), loss: "vlb", denoiser: new Weighted(toy) } });
      return system.objectiveAt(point, { pass: {} }).perExample;
    }) as [Tensor, Tensor];
    close(losses[0], losses[1], 0, "without the variances", { rule: "relative" });
    const system = daed();
    const x1 = system.chain.diffuse(point.x0, point.t, point.noise);
    const error = system.denoise(x1, { pass: {} }).sub(point.x0).square().flatten(1).mean([1]);
    close(losses[0], error.mul(T - 1), 1e-11, "loss", { rule: "relative" });
  });

  test.each(["simple", "kl", "vlb", "hybrid"] as const)(
    "%s: a part without images has no gradient",
    (loss) => {
      const type = eps("learned-range");
      for (const steps of [
        [3, 9],
        [0, 0],
      ]) {
        const [denoiser, other] = [new Weighted(toy2), new Weighted(toy2)];
        const system = daed({ type, loss, denoiser, generator: other });
        system.objectiveAt(points(steps), { pass: {} }).loss.backward();
        const [trained, idle] = steps[0] === 0 ? [denoiser, other] : [other, denoiser];
        expect(gradientOf(idle)).toBeNull();
        expect(Math.abs(gradientOf(trained)?.item() ?? 0)).toBeGreaterThan(0);
      }
    },
  );

  test("step 0 of the bound gives the variances' channels no gradient, nor does the hybrid", () => {
    for (const loss of ["vlb", "hybrid"] as const satisfies ChainLoss[]) {
      const variances = new Weighted((x) => x.tanh());
      variances.initialise(new Streams(0), float64);
      const denoiser = new Weighted((x, t) => cat([toy1(x, t), variances.forward(x, t)], 1));
      daed({ type: eps("learned-range"), loss, denoiser })
        .objectiveAt(points([0, 0]), { pass: {} })
        .loss.backward();
      expect(gradientOf(variances)?.item() ?? 0).toBe(0);
      expect(gradientOf(denoiser)?.item()).not.toBe(0);
    }
  });

  test("weights multiply each image's loss", () => {
    const system = daed();
    const point = points([0, 5, 9]);
    const plain = system.objectiveAt(point, { pass: {} });
    const weights = tensor([0.5, 2, 0], float64);
    const weighted = system.objectiveAt(point, { pass: {}, weights });
    close(weighted.perExample, plain.perExample.mul(weights), 0, "weighted", { rule: "relative" });
    expect(weighted.loss.item()).toBeCloseTo(plain.perExample.mul(weights).mean().item(), 12);
  });
});

describe("a part by itself", () => {
  const batch = { pixels: randint(0, 256, [64, ...shape], new Generator({ seed: 2 }), float64) };
  const context = { step: 0, streams: new Streams(4), pass: {}, averaged: <R>(run: () => R) => run() };

  test.each([
    ["denoiser", "dae-uniform", [0]],
    ["generator", "dae-uniform", [1, T - 1]],
  ] as const)(
    "%s: its own steps alone are drawn, whatever the sampling says",
    (part, sampling, [low, high]) => {
      const network = new Asked();
      const absent = part === "denoiser" ? { generator: undefined } : { denoiser: undefined };
      const system = daed({ ...absent, [part]: network, sampling: sampling satisfies StepSampling });
      system.objective(batch, context);
      const told = network.told.flat();
      expect(told).toHaveLength(64);
      expect(Math.min(...told)).toBeGreaterThanOrEqual(low);
      expect(Math.max(...told)).toBeLessThanOrEqual(high ?? low);
    },
  );

  test("a generator goes as far as x_1, and there it stays", () => {
    const system = daed({ denoiser: undefined });
    const request = { count: 2, steps: T, sampler: "ancestral", streams: new Streams(5), pass: {} };
    noGrad(() => {
      let state = system.start(request);
      for (let i = 0; i < T - 1; i++) state = system.step(state, i);
      close(system.step(state, T - 1).z, state.z, 0, "x_1", { rule: "relative" });
    });
  });

  test("a denoiser reconstructs in one step, from its own noise", () => {
    const system = daed({ generator: undefined });
    const { x0, noise } = points([0, 0]);
    const how = { chain: system.chain, index: 0, sampler: "ancestral", pass: {}, noise: () => noise };
    const x1 = x0.mul(Math.sqrt(0.9)).add(noise.mul(Math.sqrt(0.1)));
    close(system.reconstruct(x0, how), system.denoise(x1, { pass: {} }), 1e-12, "image");
  });

  test("what needs the other part is refused in one line", async () => {
    const [denoiser, other] = [daed({ generator: undefined }), daed({ denoiser: undefined })];
    const request = { count: 1, steps: T, sampler: "ancestral", streams: new Streams(1), pass: {} };
    await expect(sample(denoiser, request)).rejects.toThrow(UserError);
    await expect(sample(denoiser, request)).rejects.toThrow(
      /^expected a model with a generator for drawing samples, got a denoiser alone: compose .*$/,
    );
    expect(() => other.denoise(points([0]).x0, { pass: {} })).toThrow(
      /a denoiser for denoising, got a generator/,
    );
    for (const system of [denoiser, other])
      expect(() => system.bound(batch, { streams: new Streams(1), pass: {} })).toThrow(
        /got a (denoiser|generator) alone/,
      );
  });
});

describe("a denoiser before a generator of a longer chain", () => {
  const whole = linearBetas(500);
  // Remaining steps: T - 1 - k of the published tables, and the denoiser's own.
  test.each([
    [0.001, 500],
    [0.025, 490],
    [0.1, 468],
    [0.2, 446],
    [0.3, 427],
  ])("variance %d: %i steps in all, which the generator knows by their old numbers", (firstBeta, steps) => {
    const network = new Asked();
    const system = daed({ betas: whole, split: { firstBeta, composition: "clean" }, generator: network });
    expect([system.steps, system.samplingSteps, system.firstBeta]).toEqual([steps, steps, firstBeta]);
    expect(system.chain.timesteps).toEqual([
      0,
      ...Array.from({ length: steps - 1 }, (_, i) => 501 - steps + i),
    ]);
    const abar = new GaussianChain(whole).tables.alphasCumprod;
    const kept = Array.from(abar).slice(500 - steps);
    close(Array.from(system.chain.tables.alphasCumprod), kept, 1e-11, "abar", { rule: "relative" });
  });

  const official = (firstBeta: number) => {
    const [denoiser, other] = [new Asked(), new Asked()];
    const system = daed({
      betas: whole,
      split: { firstBeta, composition: "official" },
      ...{ denoiser, generator: other },
    });
    const told = () => ({ generator: other.told.map(([t]) => t), denoiser: denoiser.told.map(([t]) => t) });
    return { system, told };
  };
  const down = (from: number, to: number) => Array.from({ length: from - to + 1 }, (_, i) => from - i);

  // The script: down to k and then once more at 0; where k is 0 nothing is left out.
  test.each([
    [0.1, [...down(499, 32), 0]],
    [0.001, down(499, 0)],
  ])("the official composition, variance %d", async (firstBeta, path) => {
    const { system, told } = official(firstBeta);
    const steps = path.length + 1;
    expect(system.samplingSteps).toBe(steps);
    const request = { count: 1, sampler: "ancestral", streams: new Streams(1), pass: {} };
    await sample(system, { ...request, steps });
    expect(told()).toEqual({ generator: path, denoiser: [0] });
    await expect(sample(system, { ...request, steps: 50 })).rejects.toThrow(
      `expected all ${steps} steps for the official composition, got 50: ask for ${steps}, or compose a clean one`,
    );
  });
});

test("all steps of a chain, and no more", () => {
  const system = daed();
  const request = { count: 1, sampler: "ancestral", streams: new Streams(1), pass: {} };
  expect(() => system.start({ ...request, steps: T + 1 })).toThrow(
    `expected at most the ${T} steps of the chain, got ${T + 1}: ask for fewer`,
  );
  expect(() => system.start({ ...request, steps: T, sampler: "ode" })).toThrow(
    /expected a sampler of a discrete chain, got "ode"/,
  );
  const pixels = full([1, ...shape], 0, float64);
  expect(() => system.bound({ pixels }, { streams: new Streams(1), pass: {}, steps: 0 })).toThrow(
    `expected a number of steps from 2 to ${T} for the bound of a discrete chain, got 0: ask for so many`,
  );
});
