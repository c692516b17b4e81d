/** Inception V3 without its weights: names and numbers of parameters, and the shapes of what it sees. */
import { expect, test } from "vitest";
import { Inception } from "../../src/networks/inception.js";
import { noGrad, Streams, scope, zeros } from "../../src/torch/index.js";

test("it has the parameters of the published network", () => {
  const parameters = new Map(new Inception().namedParameters());
  const sum = (pattern: RegExp) =>
    [...parameters].reduce((all, [name, { size }]) => all + (pattern.test(name) ? size : 0), 0);
  // Keras' InceptionV3 without its top: 21,768,352 trained numbers (kernels and shifts) and 34,432 others (means and
  // variances), so 17,216 channels are normalised, and kernels have 21,768,352 - 17,216 numbers.
  expect(sum(/conv\.weight$/)).toBe(21_751_136);
  for (const part of ["weight", "bias", "running_mean", "running_var"])
    expect(sum(new RegExp(`\\.bn\\.${part}$`))).toBe(17_216);
  expect(sum(/^fc\./)).toBe(2048 * 1008 + 1008);
  // 94 convolutions, each with a kernel and four numbers a channel, and the last layer's two.
  expect(parameters.size).toBe(94 * 5 + 2);
  expect(parameters.get("Mixed_6c.branch7x7dbl_4.conv.weight")?.shape).toEqual([160, 160, 7, 1]);
  expect(parameters.get("Mixed_7c.branch3x3dbl_3b.conv.weight")?.shape).toEqual([384, 384, 3, 1]);
});

test("an image of 299 x 299 has 2048 features, 17 x 17 x 7 spatial ones and 1008 classes", () => {
  const network = new Inception().initialise(new Streams(1));
  scope(() => {
    const seen = noGrad(() => network.forward(zeros([1, 3, 299, 299])));
    expect([seen.features, seen.spatial, seen.logits].map(({ shape }) => shape)).toEqual([
      [1, 2048],
      [1, 2023],
      [1, 1008],
    ]);
  });
  network.dispose();
});
