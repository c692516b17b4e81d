/** Identities of the model's distributions, of the likelihood of levels and of the losses. */
import { describe, expect, test } from "vitest";
import {
  boundTerm,
  chainLoss,
  cosineBetas,
  GaussianChain,
  linearBetas,
  linearCombineBetas,
  normalDivergence,
  quantisedNormalLogLikelihood,
  type ReverseType,
  reverseStep,
} from "../../src/diffusion/index.js";
import { arange, cat, full, Generator, randint, randn, type Tensor, tensor } from "../../src/torch/index.js";
import { close } from "../golden.js";
import { eps } from "./networks.js";

const float64 = { dtype: "float64" } as const;
const T = 50;
const linear = new GaussianChain(linearBetas(T));
const chains = {
  linear,
  cosine: new GaussianChain(cosineBetas(T)),
  split: new GaussianChain(linearCombineBetas(T, 0.1)),
};

/** Images, noise, and an output of both halves for every step but the first `from`. */
function draw(chain: GaussianChain, from: number, seed = 1) {
  const t = arange(from, chain.length, 1, float64).to("int64");
  const generator = new Generator({ seed });
  const shape = [t.size, 2, 3, 3];
  const x0 = randint(0, 256, shape, generator, float64).div(127.5).sub(1);
  const noise = randn(shape, generator, float64);
  return { t, x0, noise, xt: chain.diffuse(x0, t, noise), half: randn(shape, generator, float64) };
}

const nearly = (absolute: number) => ({ rule: "relative", absolute }) as const;
const perImage = (x: Tensor) => x.flatten(1).mean([1]);

describe.each(Object.entries(chains))("%s", (_, chain) => {
  const { t, x0, noise, xt, half } = draw(chain, 0);

  test("noise to image and back", () => {
    // sqrt(1 / abar) is 2e4 at the last step of the cosine: that many times 1e-16 is lost on the way.
    close(chain.noiseFromImage(xt, chain.imageFromNoise(xt, half, t), t), half, 0, "eps", nearly(1e-10));
    close(chain.imageFromNoise(xt, noise, t), x0, 0, "x0", nearly(1e-10));
  });

  test("the mean by the noise: (x_t - beta_t / sqrt(1 - abar_t) eps) / sqrt(1 - beta_t)", () => {
    const { mean } = reverseStep(chain, eps("fixed-small"), { out: half, x: xt, t });
    const beta = chain.at("betas", t, xt);
    const factor = beta.div(chain.at("sqrtOneMinusAlphasCumprod", t, xt));
    close(mean, xt.sub(factor.mul(half)).div(beta.rsub(1).sqrt()), 0, "mean", nearly(1e-10));
  });

  test("the three things that a network may predict agree on the distribution", () => {
    const means = {
      eps: half,
      x0: chain.imageFromNoise(xt, half, t),
      previous: chain.posteriorMean(chain.imageFromNoise(xt, half, t), xt, t),
    };
    const of = (mean: keyof typeof means) =>
      reverseStep(chain, { mean, variance: "fixed-large" }, { out: means[mean], x: xt, t });
    for (const mean of ["x0", "previous"] as const) {
      close(of(mean).mean, of("eps").mean, 0, mean, nearly(1e-9));
      const images = of("eps").xHat;
      close(of(mean).xHat, images, 1e-8, `${mean}: image`, { absolute: 1e-9 });
    }
  });

  test("a learned range ends at the posterior's variance and at beta_t", () => {
    const at = (v: number) =>
      reverseStep(chain, eps("learned-range"), { out: cat([half, half.mul(0).add(v)], 1), x: xt, t })
        .logVariance;
    const least = reverseStep(chain, eps("fixed-small"), { out: half, x: xt, t }).logVariance;
    const most = chain.at("betas", t, xt).log();
    const like = (values: Tensor) => values.expand([...xt.shape]);
    close(at(-1), like(least), 0, "v = -1", nearly(1e-12));
    close(at(1), like(most), 0, "v = 1", nearly(1e-12));
    close(at(0), like(least.add(most).div(2)), 0, "v = 0", nearly(1e-12));
    // Not clamped: the official code lets it go beyond both.
    close(at(3), like(most.mul(2).sub(least)), 0, "v = 3", nearly(1e-11));
  });

  test("clipping: the image first, then the mean of it; where the output is the mean, the image alone", () => {
    const clipped = reverseStep(chain, eps("fixed-small"), { out: half, x: xt, t }, { clip: "clip" });
    expect(clipped.xHat.abs().max().item()).toBe(1);
    close(clipped.mean, chain.posteriorMean(clipped.xHat, xt, t), 0, "mean", nearly(1e-14));
    const previous: ReverseType = { mean: "previous", variance: "fixed-small" };
    const given = reverseStep(chain, previous, { out: half, x: xt, t }, { clip: "clip" });
    close(given.mean, half, 0, "the mean as given", { rule: "relative" });
    expect(given.xHat.abs().max().item()).toBe(1);
  });

  test("the prior's divergence, in closed form", () => {
    const last = chain.tables.alphasCumprod.at(-1) as number;
    const expected = perImage(x0.square().mul(last))
      .add(-Math.log(1 - last) - last)
      .mul(0.5);
    close(chain.prior(x0).div(18), expected, 0, "nats per dimension", nearly(1e-14));
  });
});

describe("steps after the first", () => {
  const { t, x0, noise, xt, half } = draw(linear, 1);

  test("who knows the noise has no divergence from the posterior", () => {
    const { bits } = boundTerm(linear, eps("fixed-small"), { x0, xt, t, out: noise });
    close(bits, bits.mul(0), 0, "bits", nearly(1e-12));
  });

  test("the bound's term is the squared error of the noise, weighted", () => {
    const { bits } = boundTerm(linear, eps("fixed-small"), { x0, xt, t, out: half });
    const { betas, alphasCumprod, posteriorVariance } = linear.tables;
    const weights = t.toArray().map((i) => {
      const [beta, abar, variance] = [betas, alphasCumprod, posteriorVariance].map((of) => of[i]) as [
        number,
        number,
        number,
      ];
      return beta ** 2 / (2 * variance * (1 - beta) * (1 - abar)) / Math.LN2;
    });
    const expected = perImage(noise.sub(half).square()).mul(tensor(weights, float64));
    close(bits, expected, 1e-10, "bits", { rule: "relative" });
  });
});

describe("divergence of two normal distributions", () => {
  const generator = new Generator({ seed: 4 });
  const [m1, l1, m2, l2] = Array.from({ length: 4 }, () => randn([1000], generator, float64)) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];

  test("none of one from itself, and never less than none", () => {
    expect(normalDivergence(m1, l1, m1, l1).abs().max().item()).toBe(0);
    expect(normalDivergence(m1, l1, m2, l2).min().item()).toBeGreaterThan(0);
    // Variances that differ by 1e-6: the divergence is 1/4 of their square, and what 1 - exp loses would hide it.
    const close1 = normalDivergence(m1, l1, m1, l1.add(1e-6));
    close(close1, close1.mul(0).add(0.25e-12), 1e-3, "nearly equal", { rule: "relative" });
  });
});

describe("the likelihood of a level", () => {
  const x = arange(0, 256, 1, float64).div(127.5).sub(1);

  test.each([1 / 255, 0.01, 0.1, 1, 10])("over all 256 it sums to 1, scale %d", (scale) => {
    // What the sum telescopes to; the floor of 1e-12 adds 256e-12 at most.
    for (const mean of [-1.3, -1, -0.5, 0.0039, 0.7, 1, 2]) {
      const logp = quantisedNormalLogLikelihood(
        x,
        full([256], mean, float64),
        full([1], Math.log(scale), float64),
      );
      expect(logp.exp().sum().item()).toBeCloseTo(1, 9);
    }
  });

  test("far away it is the floor, ln 1e-12, without a gradient", () => {
    const mean = full([1], 1, float64).requireGrad();
    const logp = quantisedNormalLogLikelihood(x.narrow(0, 100, 1), mean, full([1], -5, float64));
    expect(logp.item()).toBe(Math.log(1e-12));
    logp.backward();
    expect(Math.abs(mean.grad?.item() ?? 1)).toBe(0);
  });
});

describe("losses", () => {
  const { t, x0, noise, xt, half } = draw(linear, 0);
  const both = cat([half, half.tanh()], 1);
  const of = (variance: ReverseType["variance"], o: Parameters<typeof chainLoss>[3]) => {
    const out = variance.startsWith("learned") ? both : half;
    return chainLoss(linear, eps(variance), { x0, t, noise, xt, out }, o);
  };

  test("the bound is T times its terms; T - 1 times where step 0 has a loss of its own", () => {
    const kl = of("learned-range", { loss: "kl" }).loss;
    close(of("learned-range", { loss: "vlb" }).loss, kl.mul(T), 1e-14, "vlb", { rule: "relative" });
    const split = { first: "squared-error" } as const;
    const klSplit = of("learned-range", { loss: "kl", ...split }).loss;
    close(of("learned-range", { loss: "vlb", ...split }).loss, klSplit.mul(T - 1), 1e-14, "split", {
      rule: "relative",
    });
  });

  test("simple is the squared error of the noise; hybrid adds T / 1000 of the bound", () => {
    const mse = perImage(noise.sub(half).square());
    close(of("fixed-large", { loss: "simple" }).loss, mse, 1e-14, "simple", { rule: "relative" });
    const vb = of("learned-range", { loss: "kl" }).loss;
    close(of("learned-range", { loss: "simple" }).loss, mse.add(vb), 1e-13, "learned", { rule: "relative" });
    const hybrid = of("learned-range", { loss: "hybrid" });
    close(hybrid.loss, mse.add(vb.mul(T / 1000)), 1e-13, "hybrid", { rule: "relative" });
    const split = of("learned-range", { loss: "hybrid", first: "squared-error" });
    const later = vb.mul((T - 1) / 1000).mul(t.eq(0).to("float64").rsub(1));
    close(split.loss, mse.add(later), 1e-13, "split", { rule: "relative" });
  });

  test("in hybrid the bound trains the variances alone, the squared error the mean alone", () => {
    const out = both.clone().requireGrad();
    chainLoss(linear, eps("learned-range"), { x0, t, noise, xt, out }, { loss: "hybrid" })
      .loss.sum()
      .backward();
    const gradient = out.grad as Tensor;
    // d/dm mean (eps - m)^2 = 2 (m - eps) / 18
    close(gradient.narrow(1, 0, 2), half.sub(noise).mul(2 / 18), 1e-12, "mean", { rule: "relative" });
    expect(gradient.narrow(1, 2, 2).abs().flatten(1).max([1]).min().item()).toBeGreaterThan(0);
  });
});
