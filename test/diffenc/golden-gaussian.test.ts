/** Gaussian data with linear encodings, whose losses are known in closed form, against golden/diffenc/gaussian. */
import { describe, expect, test } from "vitest";
import { FixedLinear, perImage, priorDivergence } from "../../src/diffusion/index.js";
import { DiffEnc, type Mismatch, type MismatchOptions } from "../../src/systems/diffenc.js";
import { arange, linspace, noGrad, ones, scope, type Tensor, tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { readmeEnds } from "../vdm/toy.js";
import { BestDenoiser, type BestDenoiserOptions, linearEncoding } from "./gaussian.js";

const file = new GoldenFile("diffenc", "gaussian");
const float64 = { dtype: "float64" } as const;
const [m, v] = [file.numbers("m"), file.numbers("v")];
const schedule = new FixedLinear(readmeEnds);
const { gamma0, gamma1 } = schedule.ends();
const range = readmeEnds.gammaMax - readmeEnds.gammaMin;
const kappas: Record<string, number> = { id: 1, nt: 0 };

/** The losses are quadratic in x and eps: their means are those over x = m +- sqrt(v), eps = +-1. */
function corners(i: number, n: number): { readonly x: Tensor; readonly eps: Tensor } {
  const signs = tensor([1, 1, -1, -1, 1, -1, 1, -1], float64).reshape([2, 4, 1]);
  const at = (row: number) => signs.select(0, row).expand([4, n]).reshape([-1, 1]);
  return {
    x: at(0)
      .mul(Math.sqrt(v[i] as number))
      .add(m[i] as number),
    eps: at(1),
  };
}

const meanOverCorners = (values: Tensor) => values.reshape([4, -1]).mean([0]);

/** Simpson's rule between the ends of evenly spaced `values`, an even number of intervals of length h. */
function simpson(values: Tensor, h: number): Tensor {
  const n = values.size - 1;
  const weights = arange(0, n + 1, 1, float64)
    .remainder(2)
    .mul(2)
    .add(2); // 2, 4, 2, ..., 4, 2
  const twice = values.select(0, 0).add(values.select(0, n)); // the ends count once
  return values
    .mul(weights)
    .sum()
    .sub(twice)
    .mul(h / 3);
}

describe.each(file.matching(/^(.+)\.L_inf$/))("%s", (name) => {
  const kappa = kappas[name] ?? Number(name.replace("lin", ""));
  const encoding = linearEncoding(kappa);
  const context = (n: number) => ({ condition: ones([n], float64), pass: {} });
  const perData = (of: (i: number) => Tensor) => noGrad(() => m.map((_, i) => scope(() => of(i).item())));

  /** a(lambda) and da/dlambda, as the encoding has them: what becomes of x = 1. */
  function coefficients(lambda: Tensor): { readonly a: Tensor; readonly rate: Tensor } {
    const one = ones([lambda.size, 1], float64);
    const gamma = lambda.neg();
    const { x, surplus } = encoding.withRate(one, gamma, context(lambda.size));
    const rate = x.sub(surplus).mul(perImage(gamma, 2).sigmoid());
    return { a: x.select(1, 0), rate: rate.select(1, 0) };
  }

  const mean = (
    denoiser: Omit<BestDenoiserOptions, "kappa" | "m" | "v">,
    i: number,
    n: number,
    of: (system: DiffEnc, x: Tensor, o: MismatchOptions) => Mismatch,
  ): Tensor => {
    const data = { m: m[i] as number, v: v[i] as number, kappa };
    const system = new DiffEnc({
      shape: [1],
      schedule,
      denoiser: new BestDenoiser({ ...data, ...denoiser }),
      encoding,
      counterTerm: denoiser.counter === 1 ? "sigma2" : "none",
      prediction: denoiser.kind,
    });
    const { x, eps } = corners(i, n);
    return meanOverCorners(of(system, x, { eps, context: context(4 * n) }).mismatch);
  };

  test("the encoding and its rate", () => {
    const { a, rate } = noGrad(() => coefficients(file.tensor(`${name}.lambda`)));
    close(a, file.tensor(`${name}.a`), 1e-12, "a");
    close(rate, file.tensor(`${name}.da_dlambda`), 1e-12, "da_dlambda", { absolute: 1e-16 });
  });

  // Simpson's error at h = 18.3 / 8000 is about h^4, 3e-11, in an integral near 6.
  const n = 8000;

  test("the price of the moving mean, and the rest", () => {
    const parts = perDataParts();
    close(
      parts.map(({ main }) => main),
      file.tensor(`${name}.L_main`),
      1e-11,
      "L_main",
    );
    close(
      parts.map(({ excess }) => excess),
      file.tensor(`${name}.L_excess`),
      1e-9,
      "L_excess",
      {
        absolute: 1e-12,
      },
    );
  });

  function perDataParts(): { readonly main: number; readonly excess: number }[] {
    return noGrad(() =>
      scope(() => {
        const lambda = linspace(-readmeEnds.gammaMax, -readmeEnds.gammaMin, n + 1, float64);
        const { a, rate } = coefficients(lambda);
        const u = a.square().mul(lambda.exp());
        return v.map((variance) => {
          const gain = u.mul(variance).add(1);
          const main = 0.5 * Math.log(gain.select(0, n).item() / gain.select(0, 0).item());
          const price = rate.square().mul(lambda.exp()).mul(variance).div(gain);
          return { main, excess: simpson(price, range / n).item() / 2 };
        });
      }),
    );
  }

  describe.each([1, 0] as const)("k = %i", (counter) => {
    test.each(["v", "eps", "x"] as const)(
      "the continuous loss of the best denoiser, in terms of %s",
      (kind) => {
        const times = linspace(0, 1, n + 1, float64);
        const t = times.expand([4, n + 1]).reshape([-1]);
        const losses = perData((i) => {
          const mismatch = mean({ counter, kind }, i, n + 1, (system, x, o) =>
            system.continuousMismatch(x, t, o),
          );
          return simpson(mismatch, 1 / n).mul(range / 2);
        });
        close(losses, file.tensor(`${name}.L_inf`), 1e-9, "L_inf");
      },
    );

    test("the losses of chains", () => {
      for (const [row, T] of file.numbers(`${name}.T`).entries()) {
        const i = arange(1, T + 1, 1, float64)
          .expand([4, T])
          .reshape([-1]);
        const at = { t: i.div(T), s: i.sub(1).div(T) };
        const step = range / T;
        const losses = perData((k) =>
          mean({ counter, kind: "v", step }, k, T, (system, x, o) => system.stepMismatch(x, at, o))
            .sum()
            .mul(0.5),
        );
        close(losses, file.tensor(`${name}.L_T`).select(0, row), 1e-9, `L_${T}`);
      }
    });
  });

  test("prior and reconstruction of the encoded data; no bound is below the entropy", () => {
    const encoded = (i: number, gamma: Tensor) => {
      const { x, eps } = corners(i, 1);
      return { x, eps, at: encoding.at(x, gamma.expand([4]), context(4)) };
    };
    const prior = perData((i) => meanOverCorners(priorDivergence(encoded(i, gamma1).at, gamma1)));
    close(prior, file.tensor(`${name}.prior`), 1e-11, "prior");
    // -log N(x; x_0 + exp(gamma_0 / 2) eps_0, exp(gamma_0)): the density that the bins of pixels stand for
    const reconstruction = perData((i) => {
      const { x, eps, at } = encoded(i, gamma0);
      const deviation = at.sub(x).div(gamma0.div(2).exp()).add(eps);
      return meanOverCorners(deviation.square().mul(0.5)).add(gamma0.add(Math.log(2 * Math.PI)).mul(0.5));
    });
    close(reconstruction, file.tensor(`${name}.recon`), 1e-10, "recon");
    const diffusion = perDataParts().map(({ main, excess }) => main + excess);
    const total = diffusion.map((loss, i) => loss + (prior[i] as number) + (reconstruction[i] as number));
    close(total, file.tensor(`${name}.neg_elbo`), 1e-9, "neg_elbo");
    const entropy = v.map((variance) => 0.5 * Math.log(2 * Math.PI * Math.E * variance));
    close(entropy, file.tensor("entropy"), 1e-12, "entropy");
    for (const [i, bits] of total.entries()) expect(bits).toBeGreaterThan(entropy[i] as number);
  });
});
