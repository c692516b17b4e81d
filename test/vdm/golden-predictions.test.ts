/** Conversions between predictions, and the features networks see, against golden/vdm. */
import { describe, test } from "vitest";
import {
  convertPrediction,
  discretiseTimes,
  errorWeight,
  lowDiscrepancyTimes,
  NoiseLevel,
  type PredictionKind,
  perExample,
  perImage,
  predictionKinds,
  predictionTarget,
  Transition,
} from "../../src/diffusion/index.js";
import { fourierFeatures, timestepEmbedding } from "../../src/networks/features.js";
import type { Tensor } from "../../src/torch/index.js";
import { close, GoldenFile, same } from "../golden.js";

describe("parameterisations", () => {
  const file = new GoldenFile("vdm", "parameterisations");
  const level = new NoiseLevel(perImage(file.tensor("gamma_t")));
  const x = file.image("x");
  const eps = file.image("eps");
  const z = level.diffuse(x, eps);
  const predictions: Record<PredictionKind, Tensor> = {
    x: file.image("x_hat"),
    eps: file.image("eps_hat"),
    v: file.image("v_hat"),
    score: file.image("score_hat"),
  };

  test("the noisy latent and the target v", () => {
    close(z, file.image("z_t"), 1e-10, "z_t");
    close(predictionTarget("v", x, eps, level), file.image("v"), 1e-10, "v");
  });

  test.each(["eps", "v", "score"] as const)("x_hat as %s", (kind) => {
    const converted = convertPrediction(predictions.x, "x", kind, z, level);
    close(converted, predictions[kind], 1e-10, kind);
  });

  test.each(predictionKinds)("%s and back through each kind", (kind) => {
    for (const via of predictionKinds) {
      const there = convertPrediction(predictions[kind], kind, via, z, level);
      // eps from x divides by sigma and x from eps by alpha: what was rounded there comes back as large.
      close(
        convertPrediction(there, via, kind, z, level),
        predictions[kind],
        1e-10,
        `${kind} through ${via}`,
      );
    }
  });

  test.each(predictionKinds)("the loss in terms of %s", (kind) => {
    const error = perExample(predictionTarget(kind, x, eps, level).sub(predictions[kind]).square());
    const atT = new NoiseLevel(file.tensor("gamma_t"));
    const perGamma = error.mul(errorWeight(kind, atT)).mul(0.5);
    close(perGamma, file.tensor("loss_per_dgamma"), 1e-9, "loss_per_dgamma");
    const step = new Transition(new NoiseLevel(file.tensor("gamma_s")), atT);
    close(perGamma.mul(step.snrRatioMinusOne), file.tensor("loss_discrete_step"), 1e-9, "loss_discrete_step");
  });
});

describe("features", () => {
  const file = new GoldenFile("vdm", "features");

  /** `exp67` lists exponents of one digit, `exp0to7` the first and the last. */
  const exponentsOf = (name: string): number[] => {
    const [, first, last] = /^(\d+)to(\d+)$/.exec(name) ?? [];
    if (first === undefined) return Array.from(name, Number);
    return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i);
  };

  test.each(file.matching(/^fourier\.exp(\w+)$/))("Fourier features, exponents %s", (name) => {
    const x = file.tensor("fourier.x"); // channels last
    const features = fourierFeatures(x.reshape([-1, x.dim(-1)]), exponentsOf(name));
    const expected = file.tensor(`fourier.exp${name}`);
    close(features.reshape(expected.shape), expected, 1e-9, "features of points");
    const planes = fourierFeatures(x.transpose(-1, 1), exponentsOf(name)).transpose(-1, 1);
    close(planes, expected, 1e-9, "features of planes");
  });

  test.each(file.matching(/^temb\.dim(\d+)$/))("the embedding of time in %s dimensions", (dim) => {
    const embedding = timestepEmbedding(file.tensor("temb.t"), Number(dim));
    close(embedding, file.tensor(`temb.dim${dim}`), 1e-9, `temb.dim${dim}`);
  });

  test.each(file.matching(/^(times\.n\d+\.\d+)\.u0$/))("%s", (key) => {
    const expected = file.tensor(`${key}.t`);
    const t = lowDiscrepancyTimes(file.tensor(`${key}.u0`), expected.size);
    close(t, expected, 1e-14, "t");
    for (const depth of file.matching(new RegExp(`^${key}\\.i_T(\\d+)$`)))
      same(discretiseTimes(t, Number(depth)).i, file.tensor(`${key}.i_T${depth}`), `i of T = ${depth}`);
  });
});
