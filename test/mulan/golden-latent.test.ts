/** Auxiliary latents against golden/mulan/latent, with the noise stored there. */
import { expect, test } from "vitest";
import {
  categoricalDivergence,
  gaussianDivergence,
  gaussianDraw,
  gumbelOf,
  gumbelSoftmax,
  gumbelTemperature,
  logSubsetProbabilities,
  logSubsets,
  plackettLuceDivergence,
  projectedTopK,
  subsetsOf,
  sumOfGamma,
} from "../../src/diffusion/latent/index.js";
import { grad, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile, same } from "../golden.js";

const file = new GoldenFile("mulan", "latent");
const k = file.number("k");
const largest = { rule: "largest" } as const;

/** Agreement at the README's tolerance. */
function agree(actual: Tensor | null | undefined, key: string): void {
  close(actual, file.tensor(key), 1e-10, key, largest);
}

test("Gumbel noise of uniform draws", () => {
  agree(gumbelOf(file.tensor("uniform")), "gumbel");
});

test("k largest of logits with Gumbel noise, and the gradient of their projection", () => {
  const logits = file.tensor("logits").requireGrad();
  const noisy = logits.add(file.tensor("gumbel"));
  const { centred, soft, hard, z } = projectedTopK(noisy, k);
  agree(noisy, "topk_noisy");
  agree(centred, "topk_centered");
  agree(soft, "topk_soft");
  same(hard, file.tensor("topk_hard"), "topk_hard");
  same(z, file.tensor("topk_hard"), "z is exactly 0 or 1");
  agree(z, "topk_embedding");
  const [gradient] = grad([z.mul(file.tensor("topk_cot")).sum()], [logits]);
  agree(gradient, "topk_grad_logits");
});

test("categorical divergence from uniform", () => {
  const logits = file.tensor("logits").requireGrad();
  const kl = categoricalDivergence(logits);
  agree(kl, "kl_categorical");
  const [gradient] = grad([kl.sum()], [logits]);
  agree(gradient, "kl_categorical_grad");
});

test("the most that a law of subsets can differ from uniform", () => {
  close(
    [logSubsets(file.tensor("logits").dim(1), k)],
    file.tensor("kl_uniform_subset_bound"),
    1e-14,
    "log C",
  );
});

test.each(["official", "imle"] as const)("sum-of-gamma noise, scale as %s", (scale) => {
  const noise = sumOfGamma(file.tensor("sog_gamma_draws"), k, scale);
  agree(noise, `sog_noise_${scale}`);
  const { hard, soft, z } = projectedTopK(file.tensor("logits").add(noise), k);
  same(hard, file.tensor(`sog_hard_${scale}`), "hard");
  same(z, file.tensor(`sog_hard_${scale}`), "z");
  agree(soft, `sog_soft_${scale}`);
});

test("one-hot draw and the gradient of its relaxation", () => {
  const temperature = gumbelTemperature(file.number("gs_step"));
  close([temperature], file.tensor("gs_tau"), 1e-14, "gs_tau");
  const logits = file.tensor("logits").requireGrad();
  const { soft, hard, z } = gumbelSoftmax(logits.add(file.tensor("gumbel")), temperature);
  agree(soft, "gs_soft");
  same(hard, file.tensor("gs_hard"), "gs_hard");
  same(z, file.tensor("gs_hard"), "z is exactly 0 or 1");
  const [gradient] = grad([z.mul(file.tensor("topk_cot")).sum()], [logits]);
  agree(gradient, "gs_grad_logits");
});

test("Gaussian draw", () => {
  const mean = file.tensor("gauss_mu");
  const { variance, z } = gaussianDraw(mean, file.tensor("gauss_sigma_raw"), file.tensor("gauss_eps"));
  agree(variance, "gauss_var");
  agree(z, "gauss_z");
  agree(gaussianDivergence(mean, variance), "gauss_kl");
});

test("the exact law of the 2 largest of 5, and its divergence", () => {
  const logits = file.tensor("pl_logits").unsqueeze(0);
  const size = file.tensor("pl_subsets").dim(1);
  expect(subsetsOf(logits.dim(1), size).flat()).toEqual(file.numbers("pl_subsets"));
  agree(logSubsetProbabilities(logits, size).exp().squeeze(0), "pl_probs");
  agree(plackettLuceDivergence(logits, size), "pl_kl_to_uniform");
  agree(categoricalDivergence(logits), "pl_kl_categorical");
});
