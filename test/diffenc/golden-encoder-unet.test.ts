/** DiffEnc's inner encoders against golden/diffenc/encoder_unet, with weights made by the README's hash. */
import { describe, expect, test } from "vitest";
import { EncoderUnet } from "../../src/networks/index.js";
import { directionalDerivative, grad, noGrad } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { hashed, loadHashed } from "../hashed-weights.js";
import { readmeEnds } from "../vdm/toy.js";

const file = new GoldenFile("diffenc", "encoder_unet");

describe.each(file.matching(/^(\w+)\.config$/))("%s", (name) => {
  const [channels, blocks, type, groups, seed] = file.numbers(`${name}.config`) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const stored = file.tensor(`${name}.x`); // [B, H, W, C]
  const x = file.image(`${name}.x`);
  const gamma = file.tensor(`${name}.gamma`);
  const condition = file.tensor(`${name}.cond`);
  const options = {
    imageChannels: x.dim(1),
    height: x.dim(2),
    channels,
    blocks,
    layout: type === 0 ? ("unet" as const) : ("multiple-blocks" as const),
    groups,
    blockGroups: 32,
    dropout: 0,
    ...readmeEnds,
  };
  const encoder = loadHashed(new EncoderUnet(options), seed);
  const encode = () => directionalDerivative((g) => encoder.forward(x, g, condition, {}), gamma);

  test("number and sums of the parameters", () => {
    expect(encoder.parameterCount()).toBe(file.number(`${name}.n_params`));
    const sums = encoder.parameters().map(({ value }) => value.sum().item());
    close(sums, file.tensor(`${name}.param_sums`), 1e-9, "param_sums");
  });

  test("y, dy/dgamma and the gradient through both", () => {
    const { value, derivative } = encode();
    close(value, file.image(`${name}.y`), 1e-8, "y");
    close(derivative, file.image(`${name}.dy_dgamma`), 1e-6, "dy_dgamma");
    const cotangent = hashed(stored.shape, 0, file.number(`${name}.R_seed`)).permute([0, 3, 1, 2]);
    const gradients = grad(
      [value.mul(cotangent).sum().add(derivative.mul(cotangent).sum())],
      encoder.parameters().map((parameter) => parameter.value),
    );
    const norms = gradients.map((gradient) => gradient?.square().sum().sqrt().item() ?? 0);
    close(norms, file.tensor(`${name}.grad_norms`), 1e-6, "grad_norms");
  });

  test("without a graph around it", () => {
    const { value, derivative } = noGrad(encode);
    close(value, file.image(`${name}.y`), 1e-8, "y");
    close(derivative, file.image(`${name}.dy_dgamma`), 1e-6, "dy_dgamma");
    expect([value.requiresGrad, derivative.requiresGrad]).toEqual([false, false]);
  });
});
