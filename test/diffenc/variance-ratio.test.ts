/** The ratio w of the variances of q(z_s | z_t, x) and p(z_s | z_t): what it costs, its optimum, learned, and in samples. */
import { describe, expect, test } from "vitest";
import { optimalVarianceRatio, varianceCost } from "../../src/diffusion/index.js";
import { AdamW } from "../../src/nn/index.js";
import type { DiffEnc } from "../../src/systems/diffenc.js";
import {
  arange,
  Generator,
  grad,
  noGrad,
  randn,
  Streams,
  scope,
  type Tensor,
  tensor,
} from "../../src/torch/index.js";
import { close } from "../golden.js";
import { BestDenoiser, linearEncoding } from "./gaussian.js";
import { context, diffEnc, draws, shape, x } from "./points.js";

const float64 = { dtype: "float64" } as const;
const options = { pass: {}, condition: context.condition };
const dimensions = 3;

const evaluate = (system: DiffEnc, steps?: number) =>
  noGrad(() => system.evaluate(x, draws, { ...options, steps }));

describe("one number for all steps", () => {
  test("w = 1 costs nothing: T/2 times the mismatch is left", () => {
    const { bound, mismatch } = evaluate(diffEnc({ steps: 9, varianceRatio: 1 }));
    close(bound.diffusion, mismatch.mul(9 / 2), 1e-14, "diffusion");
  });

  test("any other costs D (w - 1 - ln w) / 2 a step, and weighs the mismatch by w", () => {
    for (const w of [0.5, 2]) {
      const { bound, mismatch } = evaluate(diffEnc({ steps: 9, varianceRatio: w }));
      const cost = dimensions * (w - 1 - Math.log(w));
      close(
        bound.diffusion,
        mismatch
          .mul(w)
          .add(cost)
          .mul(9 / 2),
        1e-13,
        `w = ${w}`,
      );
    }
  });

  test("so that with T the bound grows without limit", () => {
    const t = arange(1, 7, 1, float64).div(8); // where every one of these chains has a step end
    const mean = (system: DiffEnc, steps: number) =>
      noGrad(() =>
        system
          .evaluate(x, { ...draws, t }, { ...options, steps })
          .bound.diffusion.mean()
          .item(),
      );
    const system = diffEnc({ steps: 1, varianceRatio: 2 });
    const continuous = mean(diffEnc(), 0);
    const slope = (dimensions * (1 - Math.LN2)) / 2;
    // Twice the continuous loss and T times the constant; the rest falls as 1 / T.
    const rest = [2048, 4096].map((T) => (mean(system, T) - slope * T) / (2 * continuous) - 1) as [
      number,
      number,
    ];
    expect(Math.abs(rest[1])).toBeLessThan(0.01);
    expect(rest[0] / rest[1]).toBeGreaterThan(1.8);
    expect(rest[0] / rest[1]).toBeLessThan(2.2);
  });

  test("and is refused in continuous time", () => {
    for (const varianceRatio of [2, "learned"] as const)
      expect(() => diffEnc({ varianceRatio })).toThrow(/ratio 1 in continuous time/);
  });
});

describe("the best ratio", () => {
  const mismatch = tensor([1e-6, 0.3, 40], float64);
  const best = optimalVarianceRatio(mismatch, dimensions);
  const kl = (logRatio: Tensor) =>
    varianceCost(logRatio).mul(dimensions).add(logRatio.exp().mul(mismatch)).mul(0.5);

  test("is where the divergence of a step has slope 0 and its least value", () => {
    const logRatio = best.log().detach().requireGrad();
    const [slope] = grad([kl(logRatio).sum()], [logRatio]);
    close(slope, [0, 0, 0], 0, "slope", { absolute: 1e-13 });
    for (const by of [-0.01, 0.01])
      expect(kl(logRatio.add(by)).sub(kl(logRatio)).min().item()).toBeGreaterThan(0);
  });

  test("tends to 1 as 1 / T", () => {
    const away = [1000, 2000, 4000].map((T) => {
      const { mismatch } = evaluate(diffEnc({ steps: T }));
      return 1 - optimalVarianceRatio(mismatch.mean(), dimensions).item();
    }) as [number, number, number];
    for (const [i, value] of away.slice(1).entries()) expect((away[i] as number) / value).toBeCloseTo(2, 1);
    expect(away[2]).toBeLessThan(0.01);
  });
});

describe("learned, one for each step", () => {
  const steps = 4;
  const learned = (logRatios: readonly number[]) => {
    const system = diffEnc({ steps, varianceRatio: "learned" });
    system.logVarianceRatio?.set(tensor(logRatios, float64));
    return system;
  };

  test("each weighs its own step", () => {
    const logRatios = [0.2, -0.4, 0.6, 1.1];
    const { bound, mismatch } = evaluate(learned(logRatios));
    const expected = draws.t.toArray().map((t, k) => {
      const logRatio = logRatios[Math.floor(t * steps)] as number; // of the step from (i + 1) / T to i / T
      const w = Math.exp(logRatio);
      return (steps / 2) * (dimensions * (w - 1 - logRatio) + w * (mismatch.toArray()[k] as number));
    });
    close(bound.diffusion, expected, 1e-13, "diffusion");
  });

  test("are learned: the bound falls, and they come to where it is least", () => {
    const T = 20;
    const data = { m: 0, v: 1 / 3, kappa: 0.5 }; // of uniform pixels
    const system = diffEnc({
      denoiser: new BestDenoiser({ ...data, counter: 1, kind: "v", step: 18.3 / T }),
      encoding: linearEncoding(data.kappa),
      steps: T,
      varianceRatio: "learned",
    }).initialise(new Streams(1), float64);
    // The same points at every step, so that each step's mismatch is a mean over all of them.
    const n = x.dim(0);
    const pixels = x.expand([T, ...x.shape]).reshape([-1, ...shape]);
    const t = arange(0, T, 1, float64).add(0.5).div(T).unsqueeze(1).expand([T, n]).reshape([-1]);
    const noise = randn(pixels.shape, new Generator({ seed: 4 }), float64);
    const loss = () => system.objectiveAt(pixels, { t, eps: noise, eps0: noise }, { pass: {} }).loss;
    const ratios = system.parameters().filter((parameter) => parameter === system.logVarianceRatio);
    const optimiser = new AdamW(ratios, {
      ...{ learningRate: 0.1, betas: [0.8, 0.9], epsilon: 1e-8, weightDecay: 0, warmupSteps: 0 },
      ...{ decay: "cosine", totalSteps: 60, clipNorm: null, emaRate: 0.9 },
    });
    const before = loss().item();
    for (let k = 0; k < 60; k++)
      scope(() => {
        loss().backward();
        optimiser.step();
      });
    expect(loss().item()).toBeLessThan(before);
    const { mismatch } = noGrad(() => system.evaluate(pixels, { t, eps: noise, eps0: noise }, { pass: {} }));
    const best = optimalVarianceRatio(mismatch.reshape([T, n]).mean([1]), dimensions);
    expect(best.min().item()).toBeLessThan(0.5); // w was 1
    close(system.logVarianceRatio?.value, best.log(), 0, "ln w", { absolute: 0.01 });
  });

  test("do for no other number of steps", () => {
    expect(() => evaluate(learned([0, 0, 0, 0]), 5)).toThrow(/expected T = 4, .* got T = 5/);
  });
});

describe("in samples", () => {
  const logRatios = [0.2, -0.4, 0.6, 1.1];
  const steps = logRatios.length;
  /** The latent after each step, all from one and the same. */
  function steppedOnce(system: DiffEnc, of = steps): Tensor[] {
    const request = { count: 2, steps: of, sampler: "ancestral", streams: new Streams(6), pass: {} };
    return noGrad(() => {
      const state = system.start(request);
      return Array.from({ length: of }, (_, i) => system.step(state, i).z);
    });
  }
  const model = (varianceRatio: number | "learned") => diffEnc({ steps, varianceRatio });
  const plain = steppedOnce(model(1));
  const means = steppedOnce(model(1e40)); // 1e-20 of the noise is left

  test("sigma_P = sigma_Q / sqrt(w)", () => {
    for (const [i, z] of steppedOnce(model(4)).entries())
      close(
        z.sub(means[i] as Tensor),
        (plain[i] as Tensor).sub(means[i] as Tensor).div(2),
        1e-9,
        `step ${i}`,
      );
  });

  const learned = model("learned");
  learned.logVarianceRatio?.set(tensor(logRatios, float64));

  test("each step's own where they were learned, from t = 1 down", () => {
    for (const [i, z] of steppedOnce(learned).entries()) {
      const deviation = Math.exp(-(logRatios[steps - 1 - i] as number) / 2);
      const noise = (plain[i] as Tensor).sub(means[i] as Tensor);
      close(z.sub(means[i] as Tensor), noise.mul(deviation), 1e-9, `step ${i}`);
    }
  });

  test("and the posterior's in another number of steps", () => {
    const expected = steppedOnce(model(1), 3);
    for (const [i, z] of steppedOnce(learned, 3).entries()) close(z, expected[i] as Tensor, 0, `step ${i}`);
  });
});
