/** Latents of images that are degraded by noise: their states and targets have the noise in them. */
import { expect, test } from "vitest";
import { AddedNoise } from "../../src/diffusion/index.js";
import { type FloatDtype, randn, Streams, type Tensor } from "../../src/torch/index.js";
import { close } from "../golden.js";
import { LatentStub, vcdOf } from "./stub.js";

const levels = 4;
const degradation = new AddedNoise({ levels });
const dtype: FloatDtype = "float64";
const x0 = randn([2, 1, 12, 12], new Streams(1).generator("images"), { dtype });

/** Its encoder says the target itself, without variance. */
function system() {
  const network = new LatentStub({ a: 0, b: 0, c: 0, d: 0, e: 0, levels, latentSize: 144 });
  return vcdOf(network, { degradation, prediction: "eps" });
}

/** `sqrt(abar_T) x_0 + sqrt(1 - abar_T) noise` */
function noisy(noise: Tensor): Tensor {
  const abar = degradation.alphasCumprod[levels] as number;
  return x0.mul(Math.sqrt(abar)).add(noise.reshape(x0.shape).mul(Math.sqrt(1 - abar)));
}

test("of true states: one noise, which is in the last of them", () => {
  const { start, latents } = system().encodedLatents(x0, { pass: {}, streams: new Streams(0) });
  const noise = latents.select(1, 0);
  // 288 standard normal draws: the mean of their squares is 1 within 0.083.
  expect(Math.abs(noise.square().mean().item() - 1)).toBeLessThan(0.4);
  close(start, noisy(noise), 1e-12, "the state at level T");
  for (let step = 1; step < levels; step++)
    close(latents.select(1, step), noise, 0, `latents of step ${step}`);
});

test("of images that are led back", () => {
  const states = [...system().reconstruction(x0, { pass: {}, streams: new Streams(0) })];
  expect(states).toHaveLength(levels + 1);
  const latent = states[1]?.latent as Tensor;
  close(states[0]?.x as Tensor, noisy(latent), 1e-12, "the state at level T");
});
