/** VDM's score network against golden/vdm/score_unet, with weights made by the README's hash. */
import { describe, expect, test } from "vitest";
import { VdmUnet } from "../../src/networks/index.js";
import { grad } from "../../src/torch/index.js";
import { channelsFirst, close, GoldenFile } from "../golden.js";
import { loadHashed } from "../hashed-weights.js";
import { readmeEnds } from "./toy.js";

const file = new GoldenFile("vdm", "score_unet");

describe.each(file.matching(/^(\w+)\.config$/))("%s", (name) => {
  const [channels, depth, attention, fourier, seed] = file.numbers(`${name}.config`) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const z = file.image(`${name}.z`);
  const options = {
    imageChannels: z.dim(1),
    channels,
    depth,
    attention: attention === 0 ? ("middle" as const) : ("everywhere" as const),
    fourierExponents: fourier === 0 ? [] : [6, 7],
    dropout: 0,
    ...readmeEnds,
  };
  const network = loadHashed(new VdmUnet(options), seed);

  test("number and sums of the parameters", () => {
    expect(network.parameterCount()).toBe(file.number(`${name}.n_params`));
    const sums = network.parameters().map(({ value }) => value.sum().item());
    close(sums, file.tensor(`${name}.param_sums`), 1e-9, "param_sums");
  });

  test("output and gradients", () => {
    const gamma = file.tensor(`${name}.gamma`).requireGrad();
    const input = z.clone().requireGrad();
    const out = network.forward(input, gamma, file.tensor(`${name}.cond`), {});
    close(out, channelsFirst(file.tensor(`${name}.out`)), 1e-8, "out");
    const values = network.parameters().map(({ value }) => value);
    const [gradZ, gradGamma, ...gradients] = grad(
      [out.mul(file.image(`${name}.R`)).sum()],
      [input, gamma, ...values],
    );
    close(gradZ, file.image(`${name}.grad_z`), 1e-7, "grad_z");
    close(gradGamma, file.tensor(`${name}.grad_gamma`), 1e-7, "grad_gamma");
    const norms = gradients.map((gradient) => gradient?.square().sum().sqrt().item() ?? 0);
    close(norms, file.tensor(`${name}.grad_norms`), 1e-7, "grad_norms");
  });
});
