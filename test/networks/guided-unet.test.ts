/** The guided-diffusion U-Net: its size, what it is at first, its symmetries, its gradients, and what it refuses. */
import { describe, expect, test } from "vitest";
import { routed } from "../../src/diffusion/chain/routing.js";
import { UserError } from "../../src/errors.js";
import {
  createStepNetwork,
  GuidedAttention,
  GuidedUnet,
  type GuidedUnetOptions,
  stepNetworkSchema,
} from "../../src/networks/index.js";
import { Convolution, fanInUniform, Module, one, Parameter, zero } from "../../src/nn/index.js";
import {
  cat,
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

const tiny: GuidedUnetOptions = {
  imageChannels: 2,
  outChannels: 2,
  imageSize: 4,
  channels: 8,
  channelMultipliers: [1, 2],
  residualBlocks: 1,
  attentionResolutions: [2],
  heads: 2,
  scaleShift: "scale-shift",
  resampling: "convolution",
  attentionOrder: "legacy",
  dropout: 0,
  groups: 4,
};

const draw = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }), float64);

/** A network of weights that are neither zero nor one. */
function disturbed(options: Partial<GuidedUnetOptions> = {}): GuidedUnet {
  return disturb(new GuidedUnet({ ...tiny, ...options }).initialise(new Streams(1), float64), 2, 0.3);
}

const names = (network: Module) => Array.from(network.namedParameters(), ([name]) => name);

describe("sizes, from the specification's tables 6.5 and 12.2", () => {
  test.each([
    ["28 x 28", 28, 64, [16, 8], 8_799_105, 2.066],
    ["28 x 28, attention at 14 and 7", 28, 64, [14, 7], 9_609_985, 1.611],
    ["32 x 32", 32, 128, [16, 8], 52_542_979, 8.383],
    ["64 x 64", 64, 128, [16, 8], 121_060_483, 39.72],
  ])("%s", (_, size, channels, attentionResolutions, count, gigaMacs) => {
    const before = liveTensors();
    const imageChannels = size === 28 ? 1 : 3;
    const context = { imageChannels, outChannels: imageChannels, height: size, width: size };
    const config = stepNetworkSchema.parse({ kind: "guided-unet", channels, attentionResolutions });
    const network = createStepNetwork(config, context);
    expect(network.parameterCount()).toBe(count);
    expect(Math.abs((network.flops?.(size, size) as number) / 2e9 / gigaMacs - 1)).toBeLessThan(0.01);
    expect(liveTensors()).toBeLessThanOrEqual(before);
  });

  test("322 tensors, and 577 more numbers for the variances of 28 x 28 images", () => {
    const config = stepNetworkSchema.parse({ kind: "guided-unet", channels: 64 });
    const context = { imageChannels: 1, outChannels: 2, height: 28, width: 28 };
    const network = createStepNetwork(config, context);
    expect(network.parameterCount()).toBe(8_799_682);
    expect(network.parameters()).toHaveLength(322);
  });

  test("a multiplier of one half halves the channels of its level", () => {
    const network = new GuidedUnet({ ...tiny, channels: 16, channelMultipliers: [0.5, 1] });
    const shapes = new Map(Array.from(network.namedParameters(), ([name, { shape }]) => [name, shape]));
    expect(shapes.get("input_blocks.0.0.weight")).toEqual([8, 2, 3, 3]);
    expect(shapes.get("input_blocks.3.0.in_layers.2.weight")).toEqual([16, 8, 3, 3]);
  });
});

describe("names of the variants", () => {
  test("pooling has no parameters", () => {
    const found = names(new GuidedUnet({ ...tiny, resampling: "pooling" }));
    expect(found).not.toContain("input_blocks.2.0.op.weight");
    expect(found).not.toContain("output_blocks.1.2.conv.weight");
    expect(names(new GuidedUnet(tiny))).toEqual(
      expect.arrayContaining(["input_blocks.2.0.op.weight", "output_blocks.1.2.conv.weight"]),
    );
  });

  test("blocks that resample have the names of residual blocks", () => {
    const found = names(new GuidedUnet({ ...tiny, resampling: "blocks" }));
    expect(found).toEqual(
      expect.arrayContaining(["input_blocks.2.0.in_layers.2.weight", "output_blocks.1.2.out_layers.3.bias"]),
    );
  });

  test("the embedding of classes comes behind that of the time", () => {
    const network = new GuidedUnet({ ...tiny, classes: 10 });
    expect(names(network).slice(3, 6)).toEqual([
      "time_embed.2.bias",
      "label_emb.weight",
      "input_blocks.0.0.weight",
    ]);
    expect(network.label_emb?.weight.shape).toEqual([10, 32]);
  });
});

describe("forward pass", () => {
  const x = draw([3, 2, 4, 4], 1);
  const t = tensor([0, 7, 400], float64);

  test("an untrained network returns exactly 0", () => {
    const network = new GuidedUnet({ ...tiny, dropout: 0.3 }).initialise(new Streams(1), float64);
    const pass = { dropout: new Streams(2).dropoutKeys() };
    same(network.forward(x, t, undefined, pass), x.mul(0), "output");
  });

  test.each([
    {},
    { resampling: "pooling" },
    { resampling: "blocks" },
    { scaleShift: "shift" },
    { outChannels: 4 },
  ] as const)("knows the step, and each image by itself: %o", (options) => {
    const network = disturbed(options);
    const out = network.forward(x, t, undefined, {});
    expect(out.shape).toEqual([3, options.outChannels ?? 2, 4, 4]);
    const swapped = network.forward(x.flip([0]), t.flip([0]), undefined, {});
    close(swapped, out.flip([0]), 1e-10, "the batch in another order");
    const later = network.forward(x, tensor([1, 7, 400], float64), undefined, {});
    expect(later.select(0, 0).sub(out.select(0, 0)).abs().max().item()).toBeGreaterThan(1e-3);
    close(later.narrow(0, 1, 2), out.narrow(0, 1, 2), 1e-10, "the other images");
  });

  test("knows the class", () => {
    const network = disturbed({ classes: 3 });
    const run = (...classes: number[]) => network.forward(x, t, tensor(classes, float64), {});
    const difference = run(0, 1, 2)
      .sub(run(2, 1, 2))
      .abs();
    expect(difference.select(0, 0).max().item()).toBeGreaterThan(1e-3);
    expect(difference.narrow(0, 1, 2).max().item()).toBeLessThan(1e-10);
    expect(() => network.forward(x, t, undefined, {})).toThrow(UserError);
  });

  test("dropout is there in training alone", () => {
    const network = disturbed({ dropout: 0.5 });
    const run = (pass = {}) => network.forward(x, t, undefined, pass).toArray();
    const keys = (seed: number) => ({ dropout: new Streams(seed).dropoutKeys() });
    expect(run()).toEqual(run());
    expect(run(keys(1))).toEqual(run(keys(1)));
    expect(run(keys(1))).not.toEqual(run());
    expect(run(keys(1))).not.toEqual(run(keys(2)));
  });

  test.each(["convolution", "blocks"] as const)(
    "bfloat16 stays near float32, resampling by %s",
    (resampling) => {
      const network = disturb(new GuidedUnet({ ...tiny, resampling }).initialise(new Streams(1)), 2);
      const input = x.to("float32").requireGrad();
      const run = (precision: "float32" | "bfloat16") => network.forward(input, t, undefined, { precision });
      const [wide, narrow] = [run("float32"), run("bfloat16")];
      expect(narrow.dtype).toBe("float32");
      const error = narrow.sub(wide).square().mean().item() / wide.square().mean().item();
      expect(Math.sqrt(error)).toBeLessThan(0.1); // 8 bits of mantissa through a dozen layers
      expect(error).toBeGreaterThan(0);
      const [gradient] = grad([narrow.sum()], [input]);
      expect(gradient?.isFinite().all().item()).toBe(1);
    },
  );

  test("leaves nothing behind but its result", () => {
    const network = disturbed();
    const before = liveTensors();
    scope(() => network.forward(x, t, undefined, {}));
    expect(liveTensors()).toBeLessThanOrEqual(before + 1);
  });
});

describe("gradients are those of finite differences", () => {
  test.each([
    {},
    { scaleShift: "shift", resampling: "blocks", attentionOrder: "new", headChannels: 4, classes: 2 },
    { resampling: "pooling", headsUpsample: 4 },
  ] as const)("%o", (options) => {
    const network = disturbed(options);
    const x = draw([2, 2, 4, 4], 3).requireGrad();
    const weights = draw([2, 2, 4, 4], 4);
    const run = () =>
      network
        .forward(x, tensor([0, 5]), tensor([1, 0]), {})
        .mul(weights)
        .sum();
    const inputs = [["x", x] as const, ...network.values()];
    const gradients = grad(
      [run()],
      inputs.map(([, value]) => value),
    );
    const h = 1e-5; // the error of a central difference is h^2 times the third derivative
    noGrad(() => {
      for (const [i, [name, value]] of inputs.entries())
        scope(() => {
          const direction = draw(value.shape, 100 + i);
          const at = (step: number) => {
            value.add_(direction.mul(step));
            return run().item();
          };
          const difference = (at(h) - at(-2 * h)) / (2 * h);
          value.add_(direction.mul(h));
          const exact = gradients[i]?.mul(direction).sum().item();
          close(exact, difference, 1e-5, name, { absolute: 1e-6 });
        });
    });
  });
});

describe("attention", () => {
  const block = (options: Partial<ConstructorParameters<typeof GuidedAttention>[0]> = {}) =>
    disturb(
      new GuidedAttention({ channels: 8, heads: 2, groups: 4, order: "legacy", ...options }).initialise(
        new Streams(1),
        float64,
      ),
      2,
      0.5,
    );

  test("positions that change places change the result's places alone", () => {
    const x = draw([2, 8, 3, 4], 1);
    const turned = (image: Tensor) => image.flip([3]).transpose(2, 3);
    close(block().forward(turned(x)), turned(block().forward(x)), 1e-10, "turned");
  });

  test("the new order is the legacy one with the rows of q, k and v gathered", () => {
    const [legacy, gathered] = [block(), block({ order: "new" })];
    for (const { value } of [gathered.qkv.weight, gathered.qkv.bias]) {
      const byHead = value.reshape([2, 3, 4, -1]).transpose(0, 1).reshape(value.shape);
      noGrad(() => value.copy_(byHead.clone()));
    }
    const x = draw([2, 8, 3, 4], 1);
    close(gathered.forward(x), legacy.forward(x), 1e-10, "output");
  });

  test("many positions, in pieces, give the formula's result", () => {
    const attention = block();
    const x = draw([2, 8, 20, 28], 1); // 4 matrices of 560^2 scores
    const tokens = attention.norm.forward(x).flatten(2).transpose(1, 2);
    const qkv = attention.qkv.forward(tokens);
    const heads = [0, 12].map((begin) => {
      const [q, k, v] = qkv.narrow(2, begin, 12).split(4, 2) as [Tensor, Tensor, Tensor];
      return q.matmul(k.transpose(1, 2)).mul(0.5).softmax(2).matmul(v); // 1 / sqrt(4)
    });
    const projected = attention.proj_out.forward(cat(heads, 2)).transpose(1, 2);
    close(attention.forward(x), x.add(projected.reshape(x.shape)), 1e-9, "output");
  });
});

describe("what is refused", () => {
  test.each([
    [{ channels: 24, groups: 32 }, /multiples of 32 \(groups\), got 24: /],
    [{ heads: 3 }, /multiples of 3 \(heads\), got 16: /],
    [{ headsUpsample: 5, attentionResolutions: [4] }, /multiples of 5 \(heads\)/],
    [{ headChannels: 6 }, /multiples of 6 \(headChannels\), got 16: /],
    [{ channelMultipliers: [1, 0.01] }, /multiples of 4 \(groups\), got 0: /],
  ])("%o", (options, message) => {
    const make = () => new GuidedUnet({ ...tiny, ...options });
    expect(make).toThrow(UserError);
    expect(make).toThrow(message);
  });

  const context = { imageChannels: 1, outChannels: 1, height: 28, width: 28 };
  const create = (options: object, size: object = {}) =>
    createStepNetwork(stepNetworkSchema.parse({ kind: "guided-unet", ...options }), { ...context, ...size });

  test("images that do not halve once a level", () => {
    expect(() => create({ channelMultipliers: [1, 1, 1, 1] })).toThrow(
      /multiples of 8 \(4 levels\), got 28 x 28/,
    );
    const network = disturbed();
    expect(() => network.forward(draw([1, 2, 4, 5], 1), tensor([0]), undefined, {})).toThrow(
      /multiples of 2 \(2 levels\), got 4 x 5/,
    );
  });

  test("a size without default multipliers", () => {
    expect(() => create({}, { height: 30, width: 30 })).toThrow(
      /expected channelMultipliers for images of height 30/,
    );
    expect(
      create({ channelMultipliers: [1, 1] }, { height: 30, width: 30 }).parameterCount(),
    ).toBeGreaterThan(0);
  });
});

describe("routed", () => {
  /** Returns its factor times x and the sum of t, and notes how often it is called. */
  class Scaled extends Module {
    readonly factor: Parameter;
    calls = 0;

    constructor(value: number) {
      super();
      this.factor = new Parameter([1], one);
      this.initialise(new Streams(1), float64);
      noGrad(() => this.factor.value.mul_(value));
    }

    forward(x: Tensor, t: Tensor): Tensor {
      this.calls += 1;
      return x.add(t.to("float64").reshape([-1, 1, 1, 1])).mul(this.factor.value);
    }
  }
  const x = draw([4, 1, 2, 2], 1);

  test("every image comes back in its place, with gradients", () => {
    const [first, rest] = [new Scaled(2), new Scaled(3)];
    const input = x.clone().requireGrad();
    const t = tensor([5, 0, 9, 0], { dtype: "int64" });
    const out = routed(first, rest, input, t, undefined, {});
    const factors = tensor([3, 2, 3, 2], float64).reshape([4, 1, 1, 1]);
    close(out, x.add(t.to("float64").reshape([4, 1, 1, 1])).mul(factors), 1e-12, "output");
    const [gradient] = grad([out.sum()], [input]);
    close(gradient, factors.expand([4, 1, 2, 2]), 1e-12, "gradient");
  });

  test.each([
    [[0, 0, 0, 0], 1, 0],
    [[1, 2, 3, 4], 0, 1],
  ])("t = %j: a network without images is not called, and has no gradient", (steps, ofFirst, ofRest) => {
    const [first, rest] = [new Scaled(2), new Scaled(3)];
    const out = routed(first, rest, x, tensor(steps, float64), undefined, {});
    expect([first.calls, rest.calls]).toEqual([ofFirst, ofRest]);
    const gradients = grad([out.sum()], [first.factor.value, rest.factor.value]);
    expect(gradients.map((gradient) => gradient !== null)).toEqual([ofFirst === 1, ofRest === 1]);
  });
});

describe("what the network is made of", () => {
  test("a convolution of stride 2 keeps every second window", () => {
    const [every, second] = [1, 2].map((stride) =>
      disturb(new Convolution(2, 3, { stride }).initialise(new Streams(1), float64), 2),
    ) as [Convolution, Convolution];
    const x = draw([2, 2, 6, 5], 1);
    close(second.forward(x), every.forward(x).slice(2, 0, 6, 2).slice(3, 0, 5, 2), 1e-12, "output");
  });

  test("PyTorch's default law: uniform with variance 1 / (3 fan-in), up to its bounds", () => {
    const [fanIn, size] = [27, 200_000];
    const drawn = fanInUniform(fanIn)([size], new Generator({ seed: 1 }));
    const bound = 1 / Math.sqrt(fanIn);
    const variance = drawn.square().mean().item();
    // The fourth moment of a uniform law is bound^4 / 5, the variance of its square bound^4 (1/5 - 1/9).
    expect(Math.abs(variance * fanIn * 3 - 1)).toBeLessThan(5 * 3 * Math.sqrt((1 / 5 - 1 / 9) / size));
    expect(Math.abs(drawn.mean().item())).toBeLessThan((5 * bound) / Math.sqrt(3 * size));
    expect(drawn.abs().max().item()).toBeLessThanOrEqual(bound);
    expect(drawn.abs().max().item()).toBeGreaterThan(0.999 * bound);
  });

  test("initial laws: biases are drawn too, and zeros where the sum begins", () => {
    const network = new GuidedUnet({ ...tiny, classes: 2 }).initialise(new Streams(1));
    for (const [name, value] of network.values()) {
      const largest = value.abs().max().item();
      if (/out_layers\.3|proj_out|^out\.2|(norm|_layers\.0|out\.0)\.bias/.test(name))
        expect(largest, name).toBe(0);
      else if (/(norm|_layers\.0|out\.0)\.weight/.test(name)) same(value, value.mul(0).add(1), name);
      else expect(largest, name).toBeGreaterThan(0);
    }
  });

  test("parameters are found in nested arrays; what is none counts as a position", () => {
    class Nested extends Module {
      readonly all = [[null, [new Convolution(1, 1)]], () => 0, new Parameter([1], zero)];
    }
    expect(names(new Nested())).toEqual(["all.0.1.0.weight", "all.0.1.0.bias", "all.2"]);
  });
});
