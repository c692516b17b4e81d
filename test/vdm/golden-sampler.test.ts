/** Ancestral sampling, plain and clipped, against golden/vdm/sampler. */
import { expect, test } from "vitest";
import {
  ancestral,
  clippedAncestral,
  convertPrediction,
  FixedLinear,
  type GaussianSampler,
  NoiseLevel,
} from "../../src/diffusion/index.js";
import { VDM } from "../../src/systems/vdm.js";
import { noGrad, stack, type Tensor, tensor, zeros } from "../../src/torch/index.js";
import { close, GoldenFile, same } from "../golden.js";
import { readmeEnds, ToyNetwork } from "./toy.js";

const file = new GoldenFile("vdm", "sampler");
const steps = file.number("T");
const schedule = new FixedLinear(readmeEnds);
const denoiser = new ToyNetwork(file);

/** The latent after every step of a sampler that is given its noise. */
function trajectory(sampler: GaussianSampler): Tensor[] {
  let z = file.image("z_1");
  const noise = file.image("noise");
  const condition = zeros([z.dim(0)], { dtype: "float64" });
  return Array.from({ length: steps }, (_, i) => {
    const level = (t: number) => new NoiseLevel(schedule.at(tensor([t], { dtype: "float64" })).gamma);
    const [from, to] = [level((steps - i) / steps), level((steps - i - 1) / steps)];
    const eps = denoiser.forward(z, from.gamma.expand([z.dim(0)]), condition);
    const x = convertPrediction(eps, "eps", "x", z, from);
    z = sampler({ z, prediction: { x, eps }, from, to, noise: () => noise.select(0, i) });
    return z;
  });
}

test("every step of the plain sampler, and the pixels it ends in", () =>
  noGrad(() => {
    const zs = trajectory(ancestral);
    close(stack(zs), file.image("z_steps"), 1e-9, "z_steps");
    const vdm = new VDM({ shape: file.image("z_1").shape.slice(1), schedule, denoiser });
    const pixels = vdm.decode(zs.at(-1) as Tensor);
    expect(pixels.dtype).toBe("uint8");
    same(pixels, file.image("x_sample"), "x_sample");
  }));

test("every step with the predicted image clamped to [-1, 1]", () =>
  noGrad(() => {
    close(stack(trajectory(clippedAncestral)), file.image("z_steps_clipped"), 1e-9, "z_steps_clipped");
  }));
