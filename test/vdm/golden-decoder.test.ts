/** Coding of pixels and the discretised likelihood against golden/vdm/data_decoder. */
import { describe, test } from "vitest";
import {
  decodePixels,
  encodePixels,
  perExample,
  pixelLogLikelihood,
  pixelLogProbabilities,
} from "../../src/diffusion/index.js";
import { arange, scope, tensor } from "../../src/torch/index.js";
import { close, GoldenFile, same } from "../golden.js";

const file = new GoldenFile("vdm", "data_decoder");
const x = file.image("x");
/** V, the width of the table of probabilities. */
const levels = file.tensor(`${file.matching(/^(\w+)\.logprobs_first$/)[0]}.logprobs_first`).dim(-1);

test("pixels are coded as the middles of their bins", () => {
  close(encodePixels(x, levels), file.image("f"), Number.EPSILON, "f", { rule: "relative" });
});

describe.each(file.matching(/^(?!expected)(\w+)\.gamma_0$/))("%s", (group) => {
  const gamma0 = file.tensor(`${group}.gamma_0`);
  const y = encodePixels(x, levels).add(gamma0.div(2).exp().mul(file.image("eps_0")));
  const truth = file.image(`${group}.logprob_true`);
  const table = pixelLogProbabilities(y, gamma0, levels);

  test("the noisy latent and the pixel it decodes to", () => {
    close(y, file.image(`${group}.z0_rescaled`), 1e-12, "z0_rescaled");
    same(decodePixels(y, levels), file.image(`${group}.argmax`), "decoded pixels");
    same(table.argmax(-1), file.image(`${group}.argmax`), "most likely pixels");
  });

  test("the whole table", () => {
    const picked = table.gather(-1, x.to("int64").unsqueeze(-1)).squeeze(-1);
    const first = table.select(0, 0).select(1, 0).select(1, 0); // [C, V] of pixel (0, 0) of the first image
    close(first, file.tensor(`${group}.logprobs_first`), 1e-9, "logprobs_first");
    close(picked, truth, 1e-9, "logprob_true", { absolute: 1e-9 });
  });

  test("the window around the nearest bin", () => {
    const logLikelihood = pixelLogLikelihood(x, y, gamma0, levels);
    close(logLikelihood, truth, 1e-9, "logprob_true", { absolute: 1e-9 });
    close(perExample(logLikelihood).neg(), file.tensor(`${group}.nll`), 1e-9, "nll");
  });
});

test("the expected cost of a uniform pixel, by quadrature over the noise", () => {
  // Trapezoid on [-9, 9]. With r the spacing of bins in units of the noise, a bin's edge is a softplus of slope r, with
  // poles at distance pi / r of the real line: the error is exp(-2 pi^2 / (r step)), 1e-14 at r = 6 (gamma_0 = -13.3).
  const step = 0.1;
  const noise = arange(0, 181, 1, { dtype: "float64" }).mul(step).sub(9);
  const weights = noise
    .square()
    .div(-2)
    .exp()
    .mul(step / Math.sqrt(2 * Math.PI));
  const pixels = arange(0, levels, 1, { dtype: "float64" });
  const expected = file.numbers("expected.gamma_0").map((value) =>
    scope(() => {
      const gamma0 = tensor([value], { dtype: "float64" });
      const f = encodePixels(pixels, levels).unsqueeze(1);
      const y = f.add(gamma0.div(2).exp().mul(noise)); // [V, noise]
      const nll = pixelLogLikelihood(pixels.unsqueeze(1).expand(y.shape), y, gamma0, levels).neg();
      return nll.mul(weights).sum().item() / levels / Math.LN2;
    }),
  );
  close(expected, file.tensor("expected.recon_bpd_uniform_pixel"), 1e-6, "expected bits of a pixel");
});
