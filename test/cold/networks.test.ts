/** The U-Nets of cold diffusion: what they are at first, their identities, their costs, and what they refuse. */
import { describe, expect, test } from "vitest";
import type { LevelTimes } from "../../src/diffusion/cold/level-network.js";
import { UserError } from "../../src/errors.js";
import { findProblems, formatProblems } from "../../src/experiment/config-errors.js";
import {
  ColdUnet,
  type ColdUnetOptions,
  createLatentNetwork,
  createLevelNetwork,
  GuidedUnet,
  latentNetworkSchema,
  levelNetworkSchema,
  stepEmbedding,
  VariationalUnet,
  type VariationalUnetOptions,
} from "../../src/networks/index.js";
import type { Linear } from "../../src/nn/index.js";
import {
  Generator,
  grad,
  liveTensors,
  noGrad,
  randn,
  Streams,
  scope,
  type Tensor,
  tensor,
} from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { close, same } from "../golden.js";

const float64 = { dtype: "float64" } as const;

const tiny: ColdUnetOptions = {
  imageChannels: 2,
  channels: 8,
  channelMultipliers: [1, 2],
  residualBlocks: 1,
  attentionLevels: [1],
  dropout: 0,
  groups: 4,
  times: "two",
};
const tinyLatent: VariationalUnetOptions = {
  ...tiny,
  latentSize: 3,
  imageSize: [4, 6],
  location: "emb",
  injection: "concat",
};

const injections = [
  { location: "emb", injection: "concat" },
  { location: "emb", injection: "add" },
  { location: "start", injection: "concat" },
  { location: "start", injection: "add" },
  { location: "bottleneck", injection: "concat" },
  { location: "bottleneck", injection: "add" },
] as const;

const draw = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }), float64);

const levels = (...t: number[]): LevelTimes => ({
  t: tensor(t, { dtype: "int64" }),
  t2: tensor(
    t.map((level) => level - 1),
    { dtype: "int64" },
  ),
});

/** Networks of weights that are neither zero nor one. */
function coldUnet(options: Partial<ColdUnetOptions> = {}): ColdUnet {
  return disturb(new ColdUnet({ ...tiny, ...options }).initialise(new Streams(1), float64), 2, 0.3);
}
function variationalUnet(options: Partial<VariationalUnetOptions> = {}): VariationalUnet {
  const network = new VariationalUnet({ ...tinyLatent, ...options });
  return disturb(network.initialise(new Streams(1), float64), 2, 0.3);
}

const x = draw([3, 2, 4, 6], 1);
const target = draw([3, 2, 4, 6], 2);
const z = draw([3, 3], 3);
const times = levels(0, 3, 5);

const largest = (difference: Tensor) => difference.abs().max().item();

describe("at initialisation the output is exactly 0 (specification, check 9)", () => {
  const pass = { dropout: new Streams(2).dropoutKeys() };

  test("without a latent", () => {
    const network = new ColdUnet({ ...tiny, dropout: 0.3 }).initialise(new Streams(1), float64);
    same(network.forward(x, times, pass), x.mul(0), "output");
  });

  test.each(injections)("with one: %o", (options) => {
    const network = new VariationalUnet({ ...tinyLatent, ...options, dropout: 0.3 });
    network.initialise(new Streams(1), float64);
    same(network.forward(x, times, z, pass), x.mul(0), "output");
  });
});

test("the embedding of time 0 is ones and zeros (specification, check 10)", () => {
  same(stepEmbedding(tensor([0]), 6), tensor([[1, 1, 1, 0, 0, 0]], float64), "embedding");
});

describe("levels", () => {
  test("told one time it is the U-Net of guided-diffusion", () => {
    const network = coldUnet({ times: "one" });
    const guided = new GuidedUnet({
      ...tiny,
      outChannels: 2,
      imageSize: 4,
      attentionResolutions: [2],
      heads: 1,
      scaleShift: "shift",
      resampling: "convolution",
      attentionOrder: "legacy",
    });
    guided.load(new Map(network.values()));
    same(network.forward(x, times, {}), guided.forward(x, times.t, undefined, {}), "output");
    expect(network.flops(4, 6)).toBe(guided.flops(4, 6));
    expect(network.activations(4, 6)).toBe(guided.activations(4, 6));
  });

  test("the embeddings of two times stand side by side, -1 among them", () => {
    const both = coldUnet();
    const one = coldUnet({ times: "one" });
    for (const [i, layer] of [both.time_embed[0], both.time_embed[2]].entries()) {
      const own = (i === 0 ? one.time_embed[0] : one.time_embed[2]) as Linear;
      own.load(new Map(layer.values()));
    }
    const { t, t2 } = times;
    expect(t2.toArray()).toEqual([-1, 2, 4]);
    const embedding = both.embedding(times, "float64");
    expect(embedding.shape).toEqual([3, 64]);
    same(embedding.narrow(1, 0, 32), one.embedding({ t, t2: t }, "float64"), "t");
    same(embedding.narrow(1, 32, 32), one.embedding({ t: t2, t2 }, "float64"), "t2");
  });

  test.each([
    ["one", 0],
    ["two", 1e-3],
  ] as const)("told %s, the second matters by more than %f", (told, least) => {
    const network = coldUnet({ times: told });
    const elsewhere = network.forward(x, { t: times.t, t2: times.t }, {});
    const difference = largest(network.forward(x, times, {}).sub(elsewhere));
    if (told === "one") expect(difference).toBe(0);
    else expect(difference).toBeGreaterThan(least);
  });

  test("the encoder knows them where a group has more than one channel", () => {
    const change = (encoderGroups: number) => {
      const network = variationalUnet({ encoderGroups });
      const [one, other] = [times, levels(4, 1, 2)].map((at) => network.encode(x, target, at, {}).mean);
      return largest((one as Tensor).sub(other as Tensor));
    };
    expect(change(4)).toBeLessThan(1e-10); // its 4 channels a group each: what is added falls out of the norm
    expect(change(2)).toBeGreaterThan(1e-3);
  });
});

describe("latents", () => {
  test.each(injections)("matter, unless the projection is zero: %o", (options) => {
    const network = variationalUnet(options);
    const others = draw([3, 3], 4);
    const change = () => {
      const [one, other] = [z, others].map((latent) => network.forward(x, times, latent, {}));
      return largest((one as Tensor).sub(other as Tensor));
    };
    expect(change()).toBeGreaterThan(1e-3);
    noGrad(() => network.vae_projection[5]?.weight.value.mul_(0));
    expect(change()).toBe(0);
  });

  test("six linear maps after one another, added to the image, are another image", () => {
    const network = variationalUnet({ location: "start", injection: "add" });
    const plain = new ColdUnet(tiny);
    plain.load(new Map(network.values().filter(([name]) => !name.startsWith("vae_"))));
    let h = z;
    for (const { weight, bias } of network.vae_projection)
      h = h.matmul(weight.value.transpose(0, 1)).add(bias?.value as Tensor);
    const expected = plain.forward(x.add(h.reshape(x.shape)), times, {});
    close(network.forward(x, times, z, {}), expected, 1e-10, "output");
  });

  test("log-variances stay within -30 and 20", () => {
    const network = variationalUnet();
    noGrad(() => network.vae_encoder.dense_logvar.bias?.value.copy_(tensor([-1e3, 0, 1e3], float64)));
    const { logVariance, mean } = network.encode(x, target, times, {});
    expect(mean.shape).toEqual([3, 3]);
    same(logVariance.select(1, 0), tensor([-30, -30, -30], float64), "lowest");
    same(logVariance.select(1, 2), tensor([20, 20, 20], float64), "highest");
    expect(largest(logVariance.select(1, 1))).toBeLessThan(20);
  });

  test("the encoder tells the image from its target", () => {
    const network = variationalUnet();
    const there = network.encode(x, target, times, {}).mean;
    const back = network.encode(target, x, times, {}).mean;
    expect(largest(there.sub(back))).toBeGreaterThan(1e-3);
  });
});

describe("passes", () => {
  test.each(injections)("every image by itself: %o", (options) => {
    const network = variationalUnet(options);
    const turned = levels(5, 3, 0);
    const out = network.forward(x, times, z, {});
    close(network.forward(x.flip([0]), turned, z.flip([0]), {}), out.flip([0]), 1e-10, "output");
    const { mean } = network.encode(x, target, times, {});
    const flipped = network.encode(x.flip([0]), target.flip([0]), turned, {}).mean;
    close(flipped, mean.flip([0]), 1e-10, "mean");
  });

  test("dropout is there in training alone, in the encoder too", () => {
    const network = variationalUnet({ dropout: 0.5 });
    const outputs = (pass = {}) => [
      network.encode(x, target, times, pass).mean.toArray(),
      network.forward(x, times, z, pass).toArray(),
    ];
    const keys = (seed: number) => ({ dropout: new Streams(seed).dropoutKeys() });
    expect(outputs()).toEqual(outputs());
    expect(outputs(keys(1))).toEqual(outputs(keys(1)));
    for (const [i, output] of outputs(keys(1)).entries()) {
      expect(output).not.toEqual(outputs()[i]);
      expect(output).not.toEqual(outputs(keys(2))[i]);
    }
  });

  test.each(injections)("bfloat16 stays near float32: %o", (options) => {
    const network = new VariationalUnet({ ...tinyLatent, ...options });
    disturb(network.initialise(new Streams(1)), 2, 0.2);
    const input = x.to("float32").requireGrad();
    const latent = z.to("float32").requireGrad();
    const run = (precision: "float32" | "bfloat16") => {
      const { mean, logVariance } = network.encode(input, target.to("float32"), times, { precision });
      return [mean, logVariance, network.forward(input, times, latent, { precision })] as const;
    };
    const wide = run("float32");
    const narrow = run("bfloat16");
    for (const [i, value] of narrow.entries()) {
      expect(value.dtype).toBe("float32");
      const exact = wide[i] as Tensor;
      const error = value.sub(exact).square().mean().item() / exact.square().mean().item();
      expect(Math.sqrt(error)).toBeLessThan(0.1); // 8 bits of mantissa through a dozen layers
      expect(error).toBeGreaterThan(0);
    }
    const gradients = grad([narrow[2].sum().add(narrow[0].sum())], [input, latent]);
    for (const gradient of gradients) expect(gradient?.isFinite().all().item()).toBe(1);
  });

  test("leave nothing behind but their results", () => {
    const network = variationalUnet({ location: "bottleneck" });
    const before = liveTensors();
    scope(() => network.forward(x, times, z, {}));
    expect(liveTensors()).toBeLessThanOrEqual(before + 1);
    scope(() => network.encode(x, target, times, {}));
    expect(liveTensors()).toBeLessThanOrEqual(before + 3);
  });
});

describe("costs, counted by hand for images of 4 x 4 and two levels", () => {
  const options = { ...tiny, imageChannels: 1, attentionLevels: [] };
  const conv = (channelsIn: number, channelsOut: number, positions: number, kernel = 3) =>
    kernel * kernel * channelsIn * channelsOut * positions;
  const block = (channelsIn: number, channelsOut: number, positions: number, embedding: number) =>
    conv(channelsIn, channelsOut, positions) +
    conv(channelsOut, channelsOut, positions) +
    (channelsIn === channelsOut ? 0 : conv(channelsIn, channelsOut, positions, 1)) +
    embedding * channelsOut;
  const time = 8 * 32 + 32 * 32;
  /** Scores and weighted sum of 4 positions behind the projections. */
  const attention = 4 * 16 * 16 * 4 + 2 * 4 * 4 * 16;
  /** Multiplications of the U-Net, the embedding so many numbers wide. */
  const unet = (e: number) =>
    [
      [conv(1, 8, 16), block(8, 8, 16, e), conv(8, 8, 4), block(8, 16, 4, e)],
      [block(16, 16, 4, e), attention, block(16, 16, 4, e)],
      [block(32, 16, 4, e), block(24, 16, 4, e), conv(16, 16, 16)],
      [block(24, 8, 16, e), block(16, 8, 16, e), conv(8, 1, 16)],
    ]
      .flat()
      .reduce((sum, count) => sum + count, 0);

  test("the U-Net of two times", () => {
    expect(new ColdUnet(options).flops(4, 4)).toBe(2 * (2 * time + unet(64)));
  });

  test("with encoder and latent", () => {
    const network = new VariationalUnet({ ...tinyLatent, ...options, imageSize: [4, 4] });
    const encoder = conv(2, 4, 16) + block(4, 4, 16, 64) + conv(4, 4, 4) + block(4, 4, 4, 64) + 2 * 16 * 3;
    const projection = 5 * 3 * 3 + 3 * 64;
    expect(network.flops(4, 4)).toBe(2 * (2 * 2 * time + encoder + projection + unet(128)));
    // Inputs of the norms and convolutions of both blocks, of the one between, and of the heads.
    const kept = 4 * 4 * 16 + 4 * 16 + 4 * 4 * 4 + 16;
    expect(network.activations(4, 4)).toBe(new ColdUnet(options).activations(4, 4) + kept);
  });
});

describe("what is refused", () => {
  const context = { imageChannels: 1, height: 28, width: 28 };
  const create = (options: object, size: object = {}) =>
    createLevelNetwork(levelNetworkSchema.parse({ kind: "cold-unet", ...options }), { ...context, ...size });
  const createLatent = (options: object) =>
    createLatentNetwork(latentNetworkSchema.parse({ kind: "variational-unet", ...options }), context);

  test.each([
    [{ channels: 48 }, /multiples of 32 \(groups\), got 48: /],
    [{ channelMultipliers: [1, 2], attentionLevels: [1, 2] }, /attentionLevels below 2 .*, got 2: /],
    [{ channelMultipliers: [1, 2] }, /attentionLevels below 2 .*, got 2: /],
    [{ channelMultipliers: [1, 1, 1, 1], attentionLevels: [] }, /multiples of 8 \(4 levels\), got 28 x 28/],
  ])("%o", (options, message) => {
    expect(() => create(options)).toThrow(UserError);
    expect(() => create(options)).toThrow(message);
  });

  test("a size without default levels", () => {
    const size = { height: 30, width: 30 };
    expect(() => create({ channelMultipliers: [1, 1] }, size)).toThrow(UserError);
    expect(() => create({}, size)).toThrow(
      /expected channelMultipliers and attentionLevels for .* height 30/,
    );
    const network = create({ channelMultipliers: [1, 1], attentionLevels: [] }, size);
    expect(network.parameterCount()).toBeGreaterThan(0);
  });

  test("an encoder whose half as many channels do not divide into the groups", () => {
    expect(() => createLatent({ channels: 32 })).toThrow(UserError);
    expect(() => createLatent({ channels: 32 })).toThrow(/multiples of 32 \(encoderGroups\), got 16: /);
    expect(createLatent({ channels: 32, encoderGroups: 16 }).latentSize).toBe(128);
  });

  test("images of another size than the latent's network was made for", () => {
    const network = variationalUnet();
    const image = draw([1, 2, 8, 6], 1);
    const at = levels(1);
    const message = /expected images of 4 x 6, .*, got 8 x 6: /;
    expect(() => network.forward(image, at, draw([1, 3], 2), {})).toThrow(message);
    expect(() => network.encode(image, image, at, {})).toThrow(message);
    expect(() => coldUnet().forward(draw([1, 2, 4, 5], 1), at, {})).toThrow(/multiples of 2 \(2 levels\)/);
  });

  test.each([
    ["maps", /"location" must be one of emb, start, bottleneck \(maps is left out: its .*\); found "maps"$/],
    ["bold", /"location" must be one of emb, start, bottleneck \(bold is left out: it .*\); found "bold"$/],
    ["stat", /"location" must be one of emb, start, bottleneck; found "stat": did you mean "start"\?$/],
  ])("the latent at %s, in one line", (location, message) => {
    const config = { kind: "variational-unet", location };
    const issues = latentNetworkSchema.safeParse(config).error?.issues ?? [];
    const line = formatProblems(findProblems(latentNetworkSchema, config, issues));
    expect(line).toMatch(message);
    expect(line).not.toContain("\n");
  });
});
