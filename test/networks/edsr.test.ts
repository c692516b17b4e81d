/** EDSR as a denoiser of one noise level: its formula, its names, and its place among the networks. */
import { describe, expect, test } from "vitest";
import { createStepNetwork, Edsr, stepNetworkSchema } from "../../src/networks/index.js";
import { Generator, noGrad, randn, Streams, tensor, zeros } from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { close, same } from "../golden.js";

const float64 = { dtype: "float64" } as const;
const draw = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }), float64);

test("the official names", () => {
  const network = new Edsr({ imageChannels: 3, outChannels: 3, channels: 4, residualBlocks: 2 });
  const layers = ["head.0", "body.0.body.0", "body.0.body.2", "body.1.body.0", "body.1.body.2", "tail.1"];
  expect(Array.from(network.namedParameters(), ([name]) => name)).toEqual(
    layers.flatMap((layer) => [`${layer}.weight`, `${layer}.bias`]),
  );
});

test("kernels of one centre give the closed form", () => {
  const network = new Edsr({ imageChannels: 1, outChannels: 1, channels: 1, residualBlocks: 2 });
  network.initialise(new Streams(1), float64);
  const centres = [0.5, 2, -0.25, 3, 0.75, -1.5]; // head, both of each block, tail
  noGrad(() => {
    for (const [i, { value }] of network.parameters().entries()) {
      value.zero_();
      if (i % 2 === 0)
        value
          .narrow(2, 1, 1)
          .narrow(3, 1, 1)
          .add_(tensor([centres[i / 2] as number], float64));
    }
  });
  const x = draw([2, 1, 5, 4], 1).abs();
  // Head h = x / 2. First block: h + 3 (-0.25) relu(2 h) = -0.5 h, and h again: 0.5 h > 0. Second block:
  // 0.5 h + 3 (0.75) (3) (0.5 h) = 3.875 h, and h again: 4.875 h. Tail: -1.5 of it.
  close(network.forward(x, tensor([0, 0]), undefined, {}), x.mul(0.5 * 4.875 * -1.5), 1e-12, "output");
});

describe("of a config", () => {
  const context = { imageChannels: 2, outChannels: 4, height: 6, width: 5 };
  const config = stepNetworkSchema.parse({ kind: "edsr" });

  test("defaults", () => {
    expect(config).toEqual({ kind: "edsr", channels: 64, residualBlocks: 3 });
  });

  test("predicts zeros for the variances, the same at every step", () => {
    const network = disturb(createStepNetwork(config, context).initialise(new Streams(1), float64), 2);
    const x = draw([2, 2, 6, 5], 3);
    const out = network.forward(x, tensor([0, 0]), undefined, {});
    expect(out.shape).toEqual([2, 4, 6, 5]);
    expect(out.narrow(1, 0, 2).abs().min().item()).toBeGreaterThan(0);
    same(out.narrow(1, 2, 2), zeros([2, 2, 6, 5], float64), "variances");
    same(network.forward(x, tensor([3, 400]), undefined, {}), out, "at other steps");
  });

  test("counts: a 3 x 3 convolution of i channels to o takes 18 i o operations a position", () => {
    const network = createStepNetwork(config, context);
    expect(network.flops?.(6, 5)).toBe(18 * (2 * 64 + 6 * 64 * 64 + 64 * 2) * 30);
    expect(network.parameterCount()).toBe(9 * (2 * 64 + 6 * 64 * 64 + 64 * 2) + 64 * 7 + 2);
  });
});
