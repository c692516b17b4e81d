/** The bound of inverse heat dissipation: golden/vcd/ihdm, and what holds of its terms in closed form. */
import { expect, test } from "vitest";
import {
  type HeatNoise,
  heatPriorTerm,
  heatReconstructionTerm,
  heatStepTerm,
} from "../../src/diffusion/cold/heat-terms.js";
import { DegradedImages } from "../../src/diffusion/cold/start/index.js";
import { gaussianStepDivergence, HeatBlur } from "../../src/diffusion/index.js";
import { cat, full, Generator, rand, type Tensor, tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

const float64 = { dtype: "float64" } as const;
const golden = new GoldenFile("vcd", "ihdm");
// Sizes and constants as the file's metadata has them, K, S, sigma, delta, stub = (a, b, c).
const noise = { forward: 0.01, reverse: 0.0125 };
const stub = { a: -0.1, b: 0.05, c: 0.02 };
const widths = golden.numbers("small.blur_schedule");
const K = widths.length - 1;
const heat = new HeatBlur({
  levels: K,
  firstWidth: widths[1] as number,
  lastWidth: widths[K] as number,
  lastReached: "once",
});
const test4 = golden.tensor("elbo.test");
const train = golden.tensor("elbo.train");
const eps = golden.tensor("elbo.noise");
const dimensions = test4.size / test4.dim(0);
const chain: HeatNoise = { ...noise, dimensions };

const blurred = (x: Tensor, k: number) => heat.degrade(x, full([x.dim(0)], k, { dtype: "int64" }));
const squares = (x: Tensor) => x.square().flatten(1).sum([1]);

/** `f(u, k) = a u + b roll(u) + c k / K`, one pixel to the right along the rows. */
function predicted(u: Tensor, k: number): Tensor {
  const last = u.dim(3) - 1;
  const rolled = cat([u.narrow(3, last, 1), u.narrow(3, 0, last)], 3);
  return u.add(
    u
      .mul(stub.a)
      .add(rolled.mul(stub.b))
      .add((stub.c * k) / K),
  );
}

/** `||A_{k-1} u_0 - mu(u_k, k)||^2` with the file's noise. */
function errorAt(k: number): Tensor {
  const u = blurred(test4, k).add(eps.mul(noise.forward));
  return squares(blurred(test4, k - 1).sub(predicted(u, k)));
}

test("the steps' terms", () => {
  const terms = Array.from({ length: K }, (_, i) =>
    heatStepTerm(errorAt(i + 1), chain)
      .mean()
      .item(),
  );
  close(terms, golden.tensor("elbo.L_k"), 1e-4, "L_k", { rule: "relative" });
});

test("the reconstruction term", () => {
  const mean = heatReconstructionTerm(errorAt(1), chain).mean().item();
  close([mean], golden.tensor("elbo.L_0"), 1e-4, "L_0", { rule: "relative" });
});

test("the prior term, with the distances that degraded training images know", async () => {
  const start = new DegradedImages({ degradation: heat, shape: [1, test4.dim(2), test4.dim(3)] });
  await start.fit({ count: train.dim(0), batches: () => [train] });
  const terms = heatPriorTerm(start.squaredDistances(blurred(test4, K)), chain);
  close(terms, golden.tensor("elbo.L_K"), 1e-4, "L_K", { rule: "relative" });
});

test("a step's term is the divergence of two Gaussians, pixel by pixel, and nothing for a perfect one", () => {
  const [a, b] = [1, 2].map((seed) => rand([3, 5], new Generator({ seed }), float64)) as [Tensor, Tensor];
  const law = (mean: Tensor, deviation: number) => ({
    mean,
    logVariance: tensor(2 * Math.log(deviation), float64),
  });
  const expected = gaussianStepDivergence(law(a, 0.3), law(b, 0.4)).sum([1]);
  const error = a.sub(b).square().sum([1]);
  close(heatStepTerm(error, { forward: 0.3, reverse: 0.4, dimensions: 5 }), expected, 1e-12, "KL");
  const perfect = heatStepTerm(tensor([0]), { forward: 0.01, reverse: 0.01, dimensions: 3072 });
  expect([perfect.dtype, perfect.item()]).toEqual(["float64", 0]);
});

test("the reconstruction term is the density of a Gaussian", () => {
  const delta = 0.4;
  const errors = [0.1, -0.7, 0.25];
  const density = errors.map(
    (e) => Math.exp(-(e ** 2) / (2 * delta ** 2)) / Math.sqrt(2 * Math.PI * delta ** 2),
  );
  const expected = -Math.log(density.reduce((product, p) => product * p, 1));
  const error = tensor([errors.reduce((sum, e) => sum + e ** 2, 0)], float64);
  const found = heatReconstructionTerm(error, { forward: 0.3, reverse: delta, dimensions: 3 });
  close(found, [expected], 1e-12, "L_0");
});

test("of one training image, the one that is measured: d/2 (sigma^2/delta^2 - 1 + 2 ln(delta/sigma))", () => {
  const { forward, reverse } = chain;
  const expected = (dimensions / 2) * ((forward / reverse) ** 2 - 1 + 2 * Math.log(reverse / forward));
  close(heatPriorTerm(tensor([[0]], float64), chain), [expected], 1e-12, "L_K");
});

test("another training image costs at most ln((N + 1) / N), and their order nothing", () => {
  const distances = rand([4, 9], new Generator({ seed: 7 }), float64).mul(0.01);
  const all = heatPriorTerm(distances, chain);
  const increase = all.sub(heatPriorTerm(distances.narrow(1, 0, 8), chain));
  expect(increase.max().item()).toBeLessThanOrEqual(Math.log(9 / 8) + 1e-12);
  // One so far away that it adds nothing to the mixture but its share: the bound is reached.
  const far = cat([distances, full([4, 1], 1e3, float64)], 1);
  close(
    heatPriorTerm(far, chain).sub(all),
    Array.from({ length: 4 }, () => Math.log(10 / 9)),
    1e-10,
    "far",
  );
  close(heatPriorTerm(distances.flip([1]), chain), all, 1e-14, "order");
});
