/** Classifiers' networks: LeNet against golden values, sizes against sums by hand, and images that are too small. */
import { describe, expect, test } from "vitest";
import { ConvNet } from "../../src/networks/convnet.js";
import { LeNet } from "../../src/networks/lenet.js";
import { noGrad, randn, Streams, scope } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

describe("golden lenet", () => {
  const golden = new GoldenFile("daed", "lenet");

  test("the official parameters give the official features and logits", () => {
    scope(() => {
      const x = golden.tensor("__io/x").to("float32");
      const logits = golden.tensor("__io/logits");
      const [, channels = 0, height = 0, width = 0] = x.shape;
      const lenet = new LeNet({ shape: [channels, height, width], classes: logits.dim(1) });
      const names = golden.keys.filter((key) => !key.startsWith("__"));
      expect(Array.from(lenet.namedParameters(), ([name]) => name).sort()).toEqual([...names].sort());
      lenet.load(new Map(names.map((name) => [name, golden.tensor(name)])), { dtype: "float32" });
      const seen = noGrad(() => lenet.forward(x, {}));
      // The README's tolerance: abs 1e-5.
      close(seen.features.to("float64"), golden.tensor("__io/features"), 0, "features", { absolute: 1e-5 });
      close(seen.logits.to("float64"), logits, 0, "logits", { absolute: 1e-5 });
    });
  });
});

/** What a network gives for three images, and how many parameters it has. */
function shapesOf(network: LeNet | ConvNet, shape: readonly [number, number, number]) {
  return scope(() => {
    network.initialise(new Streams(1));
    const x = randn([3, ...shape], new Streams(2).generator("x"));
    const { logits, features, spatial } = noGrad(() => network.forward(x, {}));
    return { logits: logits.shape, features: features.shape, spatial: spatial.shape };
  });
}

test("LeNet takes any shape: a colour image of 32x20 leaves maps of 5x2", () => {
  const network = new LeNet({ shape: [3, 32, 20], classes: 7 });
  // conv2's map is ((32 - 4) / 2 - 4) x ((20 - 4) / 2 - 4) = 10 x 4, pooled 5 x 2.
  expect(shapesOf(network, [3, 32, 20])).toEqual({ logits: [3, 7], features: [3, 84], spatial: [3, 7 * 40] });
  // Kernels and biases: 6 (75 + 1), 16 (150 + 1), 120 (160 + 1), 84 (120 + 1), 7 (84 + 1).
  expect(network.parameterCount()).toBe(456 + 2416 + 19_320 + 10_164 + 595);
});

test("LeNet's first weights and biases are uniform within 1 / sqrt(fan in)", () => {
  const network = new LeNet({ shape: [1, 28, 28], classes: 10 }).initialise(new Streams(1));
  for (const [parameter, fanIn] of [
    [network.conv1.weight, 25],
    [network.conv2.bias, 150],
    [network.fc1.weight, 256],
    [network.fc3.weight, 84],
  ] as const) {
    const largest = scope(() => parameter.value.detach().abs().max().item()) * Math.sqrt(fanIn);
    expect(largest).toBeLessThanOrEqual(1 + 1e-6);
    expect(largest).toBeGreaterThan(0.7);
  }
  network.dispose();
});

test("ConvNet of 64 channels has 128 features and half a million parameters", () => {
  const shape = [3, 32, 32] as const;
  const network = new ConvNet({ shape, classes: 10, channels: 64, dropout: 0 });
  // Convolutions with bias and two numbers a channel of normalisation, then the last linear map.
  const stage = (from: number, to: number) => 9 * from * to + 9 * to * to + 2 * to + 4 * to;
  const expected = stage(3, 64) + stage(64, 128) + stage(128, 128) + 1290;
  expect(network.parameterCount()).toBe(expected);
  expect(shapesOf(network, shape)).toEqual({ logits: [3, 10], features: [3, 128], spatial: [3, 7 * 64] });
  // Two operations a weight a position: 1024 positions, then 256, then 64.
  const kernels = [9 * 67 * 64, 9 * 192 * 128, 9 * 256 * 128] as const;
  expect(network.flops(32, 32)).toBe(2 * (1024 * kernels[0] + 256 * kernels[1] + 64 * kernels[2]));
});

test("images that are too small are refused in a line", () => {
  expect(() => new LeNet({ shape: [1, 15, 28], classes: 2 })).toThrow(
    /^expected images of at least 16 x 16 for model.network.kind lenet, got 15 x 28/,
  );
  expect(() => new ConvNet({ shape: [1, 3, 8], classes: 2, channels: 8, dropout: 0 })).toThrow(
    /^expected images of at least 4 x 4/,
  );
});
