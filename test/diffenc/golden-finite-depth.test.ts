/** Chains of T steps with a free variance ratio, and their limit, against golden/diffenc/finite_depth. */
import { describe, test } from "vitest";
import {
  ancestral,
  convertPrediction,
  discretiseTimes,
  type Encoding,
  FixedLinear,
  Identity,
  NoiseLevel,
  NonTrainable,
  optimalVarianceRatio,
  perImage,
  Trainable,
  Transition,
} from "../../src/diffusion/index.js";
import { DiffEnc } from "../../src/systems/diffenc.js";
import { noGrad, type Tensor, zerosLike } from "../../src/torch/index.js";
import { close, GoldenFile, same } from "../golden.js";
import { readmeEnds, ToyEncoder, ToyNetwork } from "../vdm/toy.js";

const file = new GoldenFile("diffenc", "finite_depth");
const x = file.image("x");
const f = x
  .add(0.5)
  .mul(2 / 256)
  .sub(1);
const t = file.tensor("t");
const eps = file.image("eps");
const context = { condition: file.tensor("cond"), pass: {} };
const schedule = new FixedLinear(readmeEnds);
const dimensions = x.size / x.dim(0);

const encodings: Record<string, () => Encoding> = {
  s3va: () => new Trainable({ network: new ToyEncoder(file) }),
  nt: () => new NonTrainable(),
  id: () => new Identity(),
};

function model(encoding: string, counter: string, o: { steps?: number; varianceRatio?: number } = {}) {
  return new DiffEnc({
    shape: x.shape.slice(1),
    schedule,
    denoiser: new ToyNetwork(file),
    encoding: (encodings[encoding] as () => Encoding)(),
    counterTerm: counter === "ct1" ? "sigma2" : "none",
    prediction: "v",
    ...o,
  });
}

/** mu_Q from its definition in section 2.1, mu_P as the sampler's step without noise. */
function means(system: DiffEnc, counter: string, at: { t: Tensor; s: Tensor }): { muQ: Tensor; muP: Tensor } {
  const [from, to] = [at.t, at.s].map((time) => new NoiseLevel(perImage(schedule.at(time).gamma))) as [
    NoiseLevel,
    NoiseLevel,
  ];
  const { xt, zt, out } = system.stepMismatch(f, at, { eps, context });
  const { change } = system.encoding.change(
    f,
    { s: schedule.at(at.s).gamma, t: schedule.at(at.t).gamma },
    context,
  );
  const mean = new Transition(to, from).posteriorMean;
  const muQ = mean.z.mul(zt).add(mean.x.mul(xt)).add(to.alpha.mul(change));
  const predicted = convertPrediction(out, "v", "x", zt, from);
  const motion = counter === "ct0" ? undefined : from.gamma.sub(to.gamma).mul(from.sigma2).mul(predicted);
  const prediction = { x: predicted, eps: convertPrediction(out, "v", "eps", zt, from) };
  const muP = ancestral({ z: zt, prediction, from, to, noise: () => zerosLike(zt), motion });
  return { muQ, muP };
}

describe.each(file.matching(/^T(\d+)\.i$/).map(Number))("T = %i", (T) => {
  const at = discretiseTimes(t, T);

  test.each(file.matching(new RegExp(`^T${T}\\.(\\w+\\.ct\\d)\\.sq$`)))("%s", (name) =>
    noGrad(() => {
      const [encoding, counter] = name.split(".") as [string, string];
      const key = (rest: string) => `T${T}.${name}.${rest}`;
      same(at.i, file.tensor(`T${T}.i`), "i");
      const system = model(encoding, counter);
      const { mismatch } = system.stepMismatch(f, at, { eps, context });
      close(mismatch, file.tensor(key("sq")), 1e-8, key("sq"));
      if (file.has(key("mu_Q"))) {
        const { muQ, muP } = means(system, counter, at);
        close(muQ, file.image(key("mu_Q")), 1e-10, key("mu_Q"));
        close(muP, file.image(key("mu_P")), 1e-10, key("mu_P"));
      }
      const optimal = optimalVarianceRatio(mismatch, dimensions);
      close(optimal, file.tensor(key("w_opt")), 1e-9, key("w_opt"));
      // At the optimum the KL is D/2 ln(1 + mismatch / D) (section 2.3).
      const least = mismatch
        .div(dimensions)
        .log1p()
        .mul((T * dimensions) / 2);
      close(least, file.tensor(key("loss_w_opt")), 1e-8, key("loss_w_opt"));
    }),
  );

  const weighted = file.matching(new RegExp(`^T${T}\\.(\\w+\\.ct\\d\\.loss_w[\\d.]+)$`));
  test.each(weighted)("%s", (name) =>
    noGrad(() => {
      const [encoding, counter] = name.split(".") as [string, string];
      const ratio = Number(name.slice(name.indexOf("loss_w") + "loss_w".length));
      const system = model(encoding, counter, { steps: T, varianceRatio: ratio });
      const { bound } = system.evaluate(
        x,
        { t, eps, eps0: file.image("eps_0") },
        { pass: {}, condition: context.condition },
      );
      close(bound.diffusion, file.tensor(`T${T}.${name}`), 1e-8, name);
    }),
  );
});

test("the deviation of the posterior", () =>
  noGrad(() => {
    const at = discretiseTimes(t, 10);
    const [from, to] = [at.t, at.s].map((time) => new NoiseLevel(schedule.at(time).gamma)) as [
      NoiseLevel,
      NoiseLevel,
    ];
    close(new Transition(to, from).posteriorVariance.sqrt(), file.tensor("T10.sigma_Q"), 1e-11, "sigma_Q");
  }));

describe.each(file.matching(/^conv\.(\w+)\.continuous$/))("%s in the limit", (name) => {
  const times = file.tensor("conv.t");
  const system = model(name, "ct1");
  const continuous = noGrad(() => {
    const { dGamma, mismatch } = system.continuousMismatch(f, times, { eps, context });
    return dGamma.mul(mismatch).mul(0.5);
  });

  test("the continuous integrand", () =>
    close(continuous, file.tensor(`conv.${name}.continuous`), 1e-9, "continuous"));

  test.each(file.numbers("conv.T").map((T, row) => [T, row] as const))("T = %i", (T, row) =>
    noGrad(() => {
      const at = { t: times, s: times.sub(1 / T) };
      const { mismatch } = system.stepMismatch(f, at, { eps, context });
      const expected = file.tensor(`conv.${name}.T_times_term`).select(0, row);
      close(mismatch.mul(T / 2), expected, 1e-6, `T = ${T}`);
    }),
  );
});
