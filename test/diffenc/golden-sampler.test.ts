/** Chains of samples with velocity prediction, plain, with the counter-term and thresholded, against golden/diffenc/sampler. */
import { test } from "vitest";
import {
  ancestral,
  convertPrediction,
  FixedLinear,
  NoiseLevel,
  NonTrainable,
  thresholded,
} from "../../src/diffusion/index.js";
import { DiffEnc } from "../../src/systems/diffenc.js";
import { noGrad, stack, type Tensor, tensor, zeros } from "../../src/torch/index.js";
import { close, GoldenFile, same } from "../golden.js";
import { readmeEnds, ToyNetwork } from "../vdm/toy.js";

const file = new GoldenFile("diffenc", "sampler");
const steps = file.number("T");
const schedule = new FixedLinear(readmeEnds);
const denoiser = new ToyNetwork(file);

/** The latent after every step, given the noise; `motion` says how the clean mean moves, `threshold` is a percentile. */
function trajectory(
  o: { motion?: (x: Tensor, from: NoiseLevel, to: NoiseLevel) => Tensor; threshold?: number } = {},
): Tensor[] {
  let z = file.image("z_1");
  const noise = file.image("noise");
  const condition = zeros([z.dim(0)], { dtype: "float64" });
  return Array.from({ length: steps }, (_, i) => {
    const level = (t: number) => new NoiseLevel(schedule.at(tensor([t], { dtype: "float64" })).gamma);
    const [from, to] = [level((steps - i) / steps), level((steps - i - 1) / steps)];
    const v = denoiser.forward(z, from.gamma.expand([z.dim(0)]), condition);
    const predicted = convertPrediction(v, "v", "x", z, from);
    const x = o.threshold === undefined ? predicted : thresholded(predicted, o.threshold);
    const eps = convertPrediction(x, "x", "eps", z, from);
    z = ancestral({
      z,
      prediction: { x, eps },
      from,
      to,
      noise: () => noise.select(0, i),
      motion: o.motion?.(x, from, to),
    });
    return z;
  });
}

/** Section 2.2: `(gamma_t - gamma_s) sigma_t^2 x_hat` */
const counterTerm = (x: Tensor, from: NoiseLevel, to: NoiseLevel) =>
  from.gamma.sub(to.gamma).mul(from.sigma2).mul(x);

test("without the counter-term: VDM", () =>
  noGrad(() => close(stack(trajectory()), file.image("vdm_v.z_steps"), 1e-9, "vdm_v.z_steps")));

test("with it, and the pixels at the end", () =>
  noGrad(() => {
    const zs = trajectory({ motion: counterTerm });
    close(stack(zs), file.image("diffenc.z_steps"), 1e-9, "diffenc.z_steps");
    const shape = file.image("z_1").shape.slice(1);
    const system = new DiffEnc({ shape, schedule, denoiser, encoding: new NonTrainable(), prediction: "v" });
    same(system.decode(zs.at(-1) as Tensor), file.image("diffenc.x_sample"), "x_sample");
  }));

test("thresholded at the 90th percentile", () =>
  noGrad(() => {
    const zs = trajectory({ motion: counterTerm, threshold: 90 });
    close(stack(zs), file.image("diffenc.z_steps_dt90"), 1e-9, "diffenc.z_steps_dt90");
  }));
