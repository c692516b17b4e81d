/** The score network: what it is at first, how large it is, and what its random parts do. */
import { describe, expect, test } from "vitest";
import { networkSchema, timestepEmbedding, VdmUnet, type VdmUnetOptions } from "../../src/networks/index.js";
import { GroupNorm, lecunNormal, normal } from "../../src/nn/index.js";
import {
  dropout,
  Generator,
  grad,
  liveTensors,
  ones,
  randn,
  Streams,
  scope,
  setThreads,
  type Tensor,
  tensor,
  threads,
} from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { close, same } from "../golden.js";
import { readmeEnds } from "./toy.js";

const float64 = { dtype: "float64" } as const;

function unet(options: Partial<VdmUnetOptions> = {}): VdmUnet {
  const defaults = { imageChannels: 3, channels: 64, depth: 1, attention: "middle", dropout: 0 } as const;
  return new VdmUnet({ ...defaults, fourierExponents: [6, 7], ...readmeEnds, ...options });
}

const draw = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }));

describe("parameter counts, from the specification's table", () => {
  test.each([
    [3, 128, 32, "middle", 30_578_179],
    [3, 128, 8, "middle", 8_905_219],
    [1, 128, 8, "middle", 8_891_393],
    [3, 256, 32, "middle", 122_137_603],
    [3, 256, 32, "everywhere", 139_276_803],
    [3, 256, 64, "middle", 237_603_843],
  ] as const)("C = %i, E = %i, L = %i, attention %s", (imageChannels, channels, depth, attention, count) => {
    const before = liveTensors();
    expect(unet({ imageChannels, channels, depth, attention }).parameterCount()).toBe(count);
    expect(liveTensors()).toBeLessThanOrEqual(before);
  });
});

describe("forward pass", () => {
  test.each([1, 2, 3])("returns z itself at initialisation, C = %i", (imageChannels) => {
    const network = unet({ imageChannels, attention: "everywhere" }).initialise(new Streams(imageChannels));
    const z = draw([3, imageChannels, 5, 4], 1);
    const gamma = tensor([-13.3, 0, 6], float64);
    same(network.forward(z, gamma, tensor([0, 1, 0]), {}), z, "output");
  });

  test("depends on the noise level and the condition", () => {
    const network = disturb(unet().initialise(new Streams(1)), 2);
    const z = draw([1, 3, 4, 4], 3);
    const run = (gamma: number, condition: number) =>
      network.forward(z, tensor([gamma], float64), tensor([condition]), {}).toArray();
    expect(run(0, 0)).not.toEqual(run(0.1, 0));
    expect(run(0, 0)).not.toEqual(run(0, 1));
  });

  test("is the same twice without dropout, and each image by itself", () => {
    const network = disturb(unet({ dropout: 0.5 }).initialise(new Streams(1), float64), 2);
    const z = draw([4, 3, 4, 4], 3).to("float64");
    const gamma = tensor([-10, -5, 0, 5], float64);
    const condition = tensor([0, 1, 0, 1], float64);
    const out = network.forward(z, gamma, condition, {});
    same(network.forward(z, gamma, condition, {}), out, "second pass");
    const one = network.forward(z.narrow(0, 2, 1), gamma.narrow(0, 2, 1), condition.narrow(0, 2, 1), {});
    close(one, out.narrow(0, 2, 1), 1e-10, "third image alone");
  });

  test("bfloat16 stays near float32", () => {
    const network = disturb(unet().initialise(new Streams(1)), 2);
    const z = draw([2, 3, 8, 8], 3);
    const gamma = tensor([-3, 2], float64);
    const run = (precision: "float32" | "bfloat16") =>
      network.forward(z, gamma, tensor([0, 0]), { precision }).sub(z);
    const [wide, narrow] = [run("float32"), run("bfloat16")];
    expect(narrow.dtype).toBe("float32");
    const error = narrow.sub(wide).square().mean().item() / wide.square().mean().item();
    expect(Math.sqrt(error)).toBeLessThan(0.1); // 8 bits of mantissa through a dozen layers
    expect(error).toBeGreaterThan(0);
  });
});

test("an embedding of odd size ends in a zero", () => {
  const embedding = timestepEmbedding(tensor([0.25], float64), 7).toArray();
  expect(embedding).toHaveLength(7);
  expect(embedding[6]).toBe(0);
  // arg_0 = 1000 tau = 250 rad: the first sine, and the first cosine behind the three sines
  expect(embedding[0]).toBeCloseTo(Math.sin(250), 12);
  expect(embedding[3]).toBeCloseTo(Math.cos(250), 12);
});

test("channels that do not divide into groups are refused", () => {
  expect(() => new GroupNorm(48, { activation: "none" })).toThrow(/divisible by 32 groups, got 48/);
  expect(networkSchema.safeParse({ kind: "vdm-unet", channels: 48 }).success).toBe(false);
});

describe("initialisers", () => {
  const size = 200_000;

  test("lecun normal: variance 1 / fan-in, cut at two deviations of the uncut law", () => {
    const fanIn = 27;
    const drawn = lecunNormal(fanIn)([size], new Generator({ seed: 1 }));
    const variance = drawn.square().mean().item();
    // The kurtosis of a normal cut at 2 is 2.06 < 3: the variance of the estimate is below 2 / (fanIn^2 n).
    expect(Math.abs(variance * fanIn - 1)).toBeLessThan(5 * Math.sqrt(2 / size));
    expect(Math.abs(drawn.mean().item())).toBeLessThan(5 / Math.sqrt(fanIn * size));
    const cut = 2 / (0.87962566103423978 * Math.sqrt(fanIn));
    expect(drawn.abs().max().item()).toBeLessThanOrEqual(cut * (1 + 1e-9));
    expect(drawn.abs().max().item()).toBeGreaterThan(0.99 * cut);
  });

  test("normal", () => {
    const drawn = normal(0.01)([size], new Generator({ seed: 2 }));
    expect(Math.abs(drawn.square().mean().item() / 1e-4 - 1)).toBeLessThan(5 * Math.sqrt(2 / size));
  });

  test("of the network: fan-in of convolutions counts their window, zeros where the sum begins", () => {
    const network = unet({ channels: 128 }).initialise(new Streams(4));
    const values = new Map(network.values());
    const variance = (name: string) => (values.get(name) as Tensor).square().mean().item();
    expect(variance("convIn.weight") * 9 * 15).toBeCloseTo(1, 1);
    expect(variance("down.0.block.conv1.weight") * 9 * 128).toBeCloseTo(1, 1);
    expect(variance("dense1.weight") * 512).toBeCloseTo(1, 1);
    for (const [name, value] of values) {
      if (/bias$|conditionProjection|conv2\.|attention\.out|convOut/.test(name))
        expect(value.abs().max().item(), name).toBe(0);
      else if (/norm\w*\.weight$/.test(name)) expect(value.sub(1).abs().max().item(), name).toBe(0);
      else expect(value.abs().max().item(), name).toBeGreaterThan(0);
    }
  });

  test("a parameter's draw depends on its name and the seed alone", () => {
    const weights = (depth: number, seed: number) =>
      (
        new Map(unet({ depth }).initialise(new Streams(seed)).values()).get("dense0.weight") as Tensor
      ).toArray();
    expect(weights(2, 5)).toEqual(weights(1, 5));
    expect(weights(1, 6)).not.toEqual(weights(1, 5));
  });
});

describe("dropout", () => {
  const size = 100_000;
  const rate = 0.3;
  const keys = (seed: number) => new Streams(seed).dropoutKeys();
  const mask = (seed: number) => dropout(ones([size]), rate, keys(seed));

  test("keeps the mean: survivors are scaled by 1 / (1 - rate)", () => {
    const values = mask(1).toArray();
    const kept = values.filter((x) => x !== 0);
    for (const x of new Set(kept)) expect(x).toBeCloseTo(1 / (1 - rate), 6);
    const deviation = Math.sqrt((rate * (1 - rate)) / size);
    expect(Math.abs(kept.length / size - (1 - rate))).toBeLessThan(5 * deviation);
  });

  test("the mask is its key's, whatever the number of threads", () => {
    const before = threads();
    try {
      setThreads(1);
      const one = mask(1).toArray();
      setThreads(2);
      expect(mask(1).toArray()).toEqual(one);
      expect(mask(2).toArray()).not.toEqual(one);
    } finally {
      setThreads(before);
    }
  });

  test("layers of one pass have masks of their own", () => {
    const pass = keys(3);
    const [first, second] = [dropout(ones([size]), rate, pass), dropout(ones([size]), rate, pass)];
    // Independent masks agree in rate^2 + (1 - rate)^2 of the positions.
    const agreement = first.eq(second).to("float64").mean().item();
    const expected = rate ** 2 + (1 - rate) ** 2;
    expect(Math.abs(agreement - expected)).toBeLessThan(5 * Math.sqrt((expected * (1 - expected)) / size));
  });

  test.each(["contiguous", "channelsLast"] as const)(
    "the gradient goes through the same mask, %s",
    (format) => {
      const x = draw([4, 6, 5, 7], 1).clone(format).requireGrad();
      const y = dropout(x, rate, keys(5));
      const cotangent = draw([4, 6, 5, 7], 2);
      const [gradient] = grad([y], [x], { gradients: [cotangent] });
      const scale = y.detach().div(x.detach()); // 0 or 1 / (1 - rate)
      close(gradient, cotangent.mul(scale).toArray(), 1e-6, "gradient");
    },
  );

  test("is there in training and absent in evaluation", () => {
    const wet = disturb(unet({ dropout: 0.5 }).initialise(new Streams(1)), 2);
    const dry = disturb(unet({ dropout: 0 }).initialise(new Streams(1)), 2);
    const z = draw([2, 3, 4, 4], 3);
    const run = (network: VdmUnet, seed?: number) =>
      scope(() => {
        const pass = seed === undefined ? {} : { dropout: keys(seed) };
        return network.forward(z, tensor([-1, 1], float64), tensor([0, 0]), pass).toArray();
      });
    expect(run(wet)).toEqual(run(dry));
    expect(run(dry, 1)).toEqual(run(dry));
    expect(run(wet, 1)).not.toEqual(run(wet));
    expect(run(wet, 1)).toEqual(run(wet, 1));
    expect(run(wet, 1)).not.toEqual(run(wet, 2));
  });
});
