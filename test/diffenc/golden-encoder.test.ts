/** Encodings of the data and their derivatives against golden/diffenc/encoder. */
import { expect, test } from "vitest";
import { type Encoding, FixedLinear, NonTrainable, perImage, Trainable } from "../../src/diffusion/index.js";
import { directionalDerivative, full, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { readmeEnds, ToyEncoder } from "../vdm/toy.js";

const file = new GoldenFile("diffenc", "encoder");
const schedule = new FixedLinear(readmeEnds);
const network = new ToyEncoder(file);
const trainable = new Trainable({ network });
const x = file
  .image("x")
  .add(0.5)
  .mul(2 / 256)
  .sub(1);
const gamma = schedule.at(file.tensor("t")).gamma;
const context = { condition: file.tensor("cond"), pass: {} };

/** `dx_t/dgamma = -sigma^2 (x_t - surplus)`: the definition of the surplus, with lambda = -gamma. */
function rate(encoding: Encoding): { x: Tensor; dxdGamma: Tensor } {
  const encoded = encoding.withRate(x, gamma, context);
  const sigma2 = perImage(gamma).sigmoid();
  return { x: encoded.x, dxdGamma: encoded.x.sub(encoded.surplus).mul(sigma2).neg() };
}

test("the inner encoder and its derivative, and the gradient of both", () => {
  close(gamma, file.tensor("gamma_t"), 1e-13, "gamma_t");
  const { value, derivative } = directionalDerivative((g) => network.forward(x, g, context.condition), gamma);
  close(value, file.image("y"), 1e-11, "y");
  close(derivative, file.image("dy_dgamma"), 1e-10, "dy_dgamma");
  file.image("R1").mul(value).sum().add(file.image("R2").mul(derivative).sum()).backward();
  for (const [name, parameter] of network.values())
    close(parameter.grad, file.tensor(`grad_enc.${name}`), 1e-8, `grad_enc.${name}`);
});

test("the trainable encoding", () => {
  const { x: xt, dxdGamma } = rate(trainable);
  close(xt, file.image("x_t"), 1e-11, "x_t");
  close(dxdGamma, file.image("dx_dgamma"), 1e-10, "dx_dgamma");
});

test("the non-trainable encoding", () => {
  const { x: xt, dxdGamma } = rate(new NonTrainable());
  close(xt, file.image("nt.x_t"), 1e-12, "nt.x_t");
  close(dxdGamma, file.image("nt.dx_dgamma"), 1e-11, "nt.dx_dgamma");
});

test("both ends, where the encoding is the identity and where it is free", () => {
  const [x0, x1] = trainable.atAll(
    x,
    [readmeEnds.gammaMin, readmeEnds.gammaMax].map((end) => full([x.dim(0)], end, { dtype: "float64" })),
    context,
  ) as [Tensor, Tensor];
  close(x0, file.image("g0.x_t"), 1e-11, "g0.x_t");
  close(x1, file.image("g1.x_t"), 1e-11, "g1.x_t");
  // Section 12, check 7: |x_0 - x| <= 2 sigma_0^2 = 3.35e-6
  expect(x0.sub(x).abs().max().item()).toBeLessThanOrEqual((2 / (1 + Math.exp(13.3))) * (1 + 1e-12));
});
