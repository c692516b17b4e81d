/** Properties of the discretised likelihood for any noise, and for rare draws. */
import { describe, expect, test } from "vitest";
import {
  decodePixels,
  encodePixels,
  pixelLogLikelihood,
  pixelLogProbabilities,
} from "../../src/diffusion/index.js";
import { arange, Generator, randint, randn, tensor } from "../../src/torch/index.js";
import { close, same } from "../golden.js";

const float64 = { dtype: "float64" } as const;
const generator = new Generator({ seed: 2 });
const x = randint(0, 256, [2, 3, 4, 5], generator).to("float64");

describe.each([-20, -13.3, -8, -5, 0, 3])("gamma_0 = %d", (value) => {
  const gamma0 = tensor([value], float64);
  const y = encodePixels(x, 256).add(
    gamma0
      .div(2)
      .exp()
      .mul(randn(x.shape, generator, float64)),
  );

  test("probabilities of 256 values sum to 1", () => {
    const probabilities = pixelLogProbabilities(y, gamma0, 256).exp();
    expect(probabilities.shape).toEqual([...x.shape, 256]);
    close(probabilities.sum([-1]), y.mul(0).add(1), 1e-12, "sum");
  });

  test("the window gives what the whole table gives, and its gradients", () => {
    const at = (path: "window" | "table") => {
      const latent = y.clone().requireGrad();
      const level = gamma0.clone().requireGrad();
      const logLikelihood =
        path === "window"
          ? pixelLogLikelihood(x, latent, level, 256)
          : pixelLogProbabilities(latent, level, 256).gather(-1, x.to("int64").unsqueeze(-1)).squeeze(-1);
      logLikelihood.sum().backward();
      return { logLikelihood, latent: latent.grad, level: level.grad };
    };
    const [window, table] = [at("window"), at("table")];
    close(window.logLikelihood, table.logLikelihood, 1e-12, "log likelihood", { absolute: 1e-12 });
    close(window.latent, table.latent?.toArray() ?? [], 1e-10, "gradient in z_0", { absolute: 1e-9 });
    close(window.level, table.level?.toArray() ?? [], 1e-10, "gradient in gamma_0", { absolute: 1e-9 });
  });
});

test("an encoded pixel decodes to itself", () => {
  const pixels = arange(0, 256, 1, float64);
  same(decodePixels(encodePixels(pixels, 256), 256), pixels, "decoded");
  same(
    pixelLogProbabilities(encodePixels(pixels, 256), tensor([-13.3], float64), 256).argmax(-1),
    pixels,
    "argmax",
  );
});

test("values beyond the ends decode to the first and the last bin", () => {
  same(decodePixels(tensor([-3, -1, 1, 7], float64), 256), tensor([0, 0, 255, 255]), "clamped");
});

test("without noise nothing is lost", () => {
  const cost = pixelLogLikelihood(x, encodePixels(x, 256), tensor([-40], float64), 256);
  close(cost, x.mul(0), 0, "log likelihood", { absolute: 1e-30 });
});

test("a draw far outside the window costs what its distance says", () => {
  // y is the middle of its bin, the truth 20 bins away: the sum is 1 and the two neighbours, spaced 2/256.
  const y = encodePixels(tensor([100], float64), 256);
  const cost = pixelLogLikelihood(tensor([120], float64), y, tensor([-13.3], float64), 256).item();
  const nearest = Math.log1p(2 * Math.exp((-((2 / 256) ** 2) * Math.exp(13.3)) / 2));
  const expected = (-((40 / 256) ** 2) * Math.exp(13.3)) / 2 - nearest;
  expect(Math.abs(cost / expected - 1)).toBeLessThan(1e-12);
});

test("other numbers of levels", () => {
  const pixels = arange(0, 5, 1, float64);
  const table = pixelLogProbabilities(encodePixels(pixels, 5), tensor([-6], float64), 5);
  expect(table.shape).toEqual([5, 5]);
  close(
    pixelLogLikelihood(pixels, encodePixels(pixels, 5), tensor([-6], float64), 5),
    table.max([1]),
    1e-12,
    "5 levels",
  );
});
