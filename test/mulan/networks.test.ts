/** MuLAN's networks: the denoiser that reads a latent and a map of noise levels, and those of the latent itself. */
import { describe, expect, test } from "vitest";
import {
  createLatentEncoder,
  type LatentCnn,
  LatentUnet,
  latentEncoderSchema,
  VdmUnet,
  type VdmUnetOptions,
} from "../../src/networks/index.js";
import { full, Generator, noGrad, randn, Streams, type Tensor, tensor } from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { close, same } from "../golden.js";
import { readmeEnds } from "../vdm/toy.js";

const float64 = { dtype: "float64" } as const;
const size = { channels: 64, depth: 1, attention: "middle", fourierExponents: [6, 7], dropout: 0 } as const;
const latent = { imageChannels: 3, height: 32, width: 32, outputs: 50, heads: 1 } as const;

function unet(options: Partial<VdmUnetOptions> = {}): VdmUnet {
  return new VdmUnet({ ...size, imageChannels: 3, conditionFeatures: 50, ...readmeEnds, ...options });
}

const draw = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }), float64);

describe("parameter counts, from the specification", () => {
  test.each([
    [128, "mean", 50, 30_603_267],
    [256, "mean", 50, 122_187_779],
    [128, "mean", 1, 30_578_179],
    [256, "mean", 1, 122_137_603],
    [128, "map", 50, 30_734_339],
    [256, "map", 50, 122_712_067],
  ] as const)("denoiser of %i channels, %s, %i numbers", (channels, noiseLevel, conditionFeatures, count) => {
    expect(unet({ channels, depth: 32, noiseLevel, conditionFeatures }).parameterCount()).toBe(count);
  });

  test.each([
    [128, 2_632_883],
    [256, 10_326_323],
  ])("network of the latent, %i channels", (channels, count) => {
    expect(new LatentUnet({ ...size, ...latent, channels, depth: 4 }).parameterCount()).toBe(count);
    const config = latentEncoderSchema.parse({ kind: "unet", channels });
    expect(createLatentEncoder(config, latent).parameterCount()).toBe(count);
  });
});

describe("denoiser", () => {
  const shape = [2, 3, 4, 4] as const;
  const [z, gamma, condition] = [draw(shape, 1), draw(shape, 2), draw([2, 50], 3)];
  const ready = (noiseLevel: "mean" | "map") =>
    disturb(unet({ noiseLevel }).initialise(new Streams(1), float64), 4);
  const networks = { mean: ready("mean"), map: ready("map") };

  test("returns z itself at initialisation, told of a map", () => {
    const network = unet({ noiseLevel: "map" }).initialise(new Streams(1), float64);
    same(network.forward(z, gamma, condition, {}), z, "output");
  });

  test("in mean mode a map stands for its mean", () => {
    const network = networks.mean;
    const mean = gamma.mean([1, 2, 3]);
    close(network.forward(z, gamma, condition, {}), network.forward(z, mean, condition, {}), 1e-12, "output");
  });

  test("in map mode one level stands for a map of it", () => {
    const network = networks.map;
    const one = tensor([-3, 2], float64);
    const everywhere = one.reshape([2, 1, 1, 1]).expand(shape);
    close(
      network.forward(z, one, condition, {}),
      network.forward(z, everywhere, condition, {}),
      1e-9,
      "output",
    );
  });

  test("in map mode every pixel and every channel counts, and their order does", () => {
    const network = networks.map;
    const run = (gamma: Tensor) => network.forward(z, gamma, condition, {}).sub(z).toArray();
    const mirrored = run(gamma.flip([3]));
    const swapped = run(gamma.flip([1]));
    expect(mirrored).not.toEqual(run(gamma));
    expect(swapped).not.toEqual(run(gamma));
  });

  test.each(["mean", "map"] as const)("every number of the condition counts, %s", (noiseLevel) => {
    const network = networks[noiseLevel];
    const run = (condition: Tensor) => network.forward(z, gamma, condition, {}).toArray();
    const last = tensor([...Array<number>(49).fill(0), 1], float64);
    expect(run(condition.add(last))).not.toEqual(run(condition));
  });

  test("one number an image may come as [B] or [B, 1]", () => {
    const network = disturb(unet({ conditionFeatures: 1 }).initialise(new Streams(1), float64), 4);
    const numbers = tensor([0, 3], float64);
    same(
      network.forward(z, gamma, numbers.unsqueeze(1), {}),
      network.forward(z, gamma, numbers, {}),
      "output",
    );
  });

  test("bfloat16 stays near float32, told of a map", () => {
    const network = disturb(unet({ noiseLevel: "map" }).initialise(new Streams(1)), 4);
    const [input, c] = [z.to("float32"), condition.to("float32")];
    const run = (precision: "float32" | "bfloat16") =>
      network.forward(input, gamma, c, { precision }).sub(input);
    const [wide, narrow] = [run("float32"), run("bfloat16")];
    expect(narrow.dtype).toBe("float32");
    const error = narrow.sub(wide).square().mean().item() / wide.square().mean().item();
    expect(Math.sqrt(error)).toBeLessThan(0.1); // 8 bits of mantissa through a dozen layers
    expect(error).toBeGreaterThan(0);
  });

  test("a map costs what its dense layers do at every position but one", () => {
    const [C, E, L, positions] = [3, 64, 1, 12];
    const cost = (noiseLevel: "mean" | "map") => unet({ noiseLevel }).flops(4, 3);
    // dense0 of C embeddings a position; dense1 and a projection in each of 2 L + 3 blocks at all positions
    const dense0 = 2 * 4 * E * E * (C * positions - 1);
    const others = (2 * 16 * E * E + (2 * L + 3) * 2 * 4 * E * E) * (positions - 1);
    expect(cost("map") - cost("mean")).toBe(dense0 + others);
    expect(unet({ noiseLevel: "map" }).activations(4, 3)).toBeGreaterThan(unet().activations(4, 3));
  });
});

describe("network of the latent", () => {
  const small = { ...latent, height: 6, width: 4, outputs: 7 };
  const x = draw([3, 3, 6, 4], 5);

  test.each([1, 2] as const)("%i heads of [B, m], all 0 at initialisation", (heads) => {
    const network = new LatentUnet({ ...size, ...small, heads }).initialise(new Streams(1), float64);
    const out = network.forward(x, {});
    expect(out.map(({ shape }) => shape)).toEqual(Array.from({ length: heads }, () => [3, 7]));
    for (const head of out) expect(head.abs().max().item()).toBe(0);
  });

  test("heads differ, each image counts by itself, and dropout is there in training alone", () => {
    const options = { ...size, ...small, heads: 2, dropout: 0.5 } as const;
    const network = disturb(new LatentUnet(options).initialise(new Streams(1), float64), 6);
    const [mean, variance] = network.forward(x, {}) as [Tensor, Tensor];
    expect(mean.toArray()).not.toEqual(variance.toArray());
    const [alone] = network.forward(x.narrow(0, 1, 1), {}) as [Tensor];
    close(alone, mean.narrow(0, 1, 1), 1e-10, "second image alone");
    const [wet] = network.forward(x, { dropout: new Streams(1).dropoutKeys() }) as [Tensor];
    expect(wet.toArray()).not.toEqual(mean.toArray());
  });

  test("bfloat16 stays near float32", () => {
    const network = disturb(new LatentUnet({ ...size, ...small }).initialise(new Streams(1)), 6);
    const run = (precision: "float32" | "bfloat16") =>
      network.forward(x.to("float32"), { precision })[0] as Tensor;
    const [wide, narrow] = [run("float32"), run("bfloat16")];
    expect(narrow.dtype).toBe("float32");
    const error = narrow.sub(wide).square().mean().item() / wide.square().mean().item();
    expect(Math.sqrt(error)).toBeLessThan(0.1);
  });

  test("the small one: 3 x 3 to 32 and 16 channels, ReLU behind each, dense", () => {
    const config = latentEncoderSchema.parse({ kind: "cnn" });
    const network = createLatentEncoder(config, small).initialise(new Streams(1), float64) as LatentCnn;
    expect(network.parameterCount()).toBe(9 * 3 * 32 + 32 + 9 * 32 * 16 + 16 + 6 * 4 * 16 * 7 + 7);
    // Weights of one value: inside a map of ones, 27 a, 9 * 32 of those times b, 16 of those at every position times c.
    const [a, b, c] = [0.1, 0.01, 0.001];
    noGrad(() => {
      for (const [parameter, value] of [
        [network.conv0.weight, a],
        [network.conv1.weight, b],
        [network.heads[0]?.weight, c],
      ] as const)
        parameter?.value.copy_(full(parameter.shape, value, float64));
    });
    const ones = full([1, 3, 6, 4], 1, float64);
    // A window of the 6 x 4 map holds (3 * 6 - 2) (3 * 4 - 2) positions in all; twice in a row, by rows and by columns.
    const reach = (n: number) => {
      const once = Array.from({ length: n }, (_, i) => (i === 0 || i === n - 1 ? 2 : 3));
      return once.reduce((sum, _, i) => sum + (once[i - 1] ?? 0) + (once[i] ?? 0) + (once[i + 1] ?? 0), 0);
    };
    const expected = 3 * a * 32 * b * 16 * c * reach(6) * reach(4);
    close(network.forward(ones, {})[0], Array<number>(7).fill(expected), 1e-12, "output");
    // Where every first activation is negative ReLU leaves nothing.
    close(network.forward(ones.neg(), {})[0], Array<number>(7).fill(0), 0, "output of -1");
  });
});
