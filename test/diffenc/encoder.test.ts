/** DiffEnc's encoders: their size, what they are at first, and their derivative in the noise level. */
import { describe, expect, test } from "vitest";
import {
  createEncoder,
  EncoderMlp,
  EncoderUnet,
  type EncoderUnetOptions,
  encoderLevels,
  encoderSchema,
} from "../../src/networks/index.js";
import {
  directionalDerivative,
  Generator,
  liveTensors,
  noGrad,
  rand,
  randn,
  Streams,
  type Tensor,
  tensor,
} from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { close, same } from "../golden.js";
import { readmeEnds } from "../vdm/toy.js";

const float64 = { dtype: "float64" } as const;
const official = { imageChannels: 3, height: 32, channels: 64, groups: 16, blockGroups: 32, dropout: 0 };

/** Small enough to be fast, of groups that its 16 channels divide into. */
function small(options: Partial<EncoderUnetOptions> = {}): EncoderUnet {
  const size = {
    imageChannels: 2,
    height: 8,
    channels: 16,
    blocks: 2,
    groups: 4,
    blockGroups: 8,
    dropout: 0,
  };
  return new EncoderUnet({ ...size, layout: "unet", ...readmeEnds, ...options });
}

const image = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }), float64);

describe("size", () => {
  test.each([
    ["unet", 2, 3, 1_906_243],
    ["unet", 2, 1, 1_903_937],
    ["multiple-blocks", 4, 3, 2_744_131],
    ["multiple-blocks", 8, 3, 4_419_907],
  ] as const)(
    "%s of %i blocks, C = %i: the specification's count",
    (layout, blocks, imageChannels, count) => {
      const before = liveTensors();
      const encoder = new EncoderUnet({ ...official, ...readmeEnds, layout, blocks, imageChannels });
      expect(encoder.parameterCount()).toBe(count);
      expect(liveTensors()).toBeLessThanOrEqual(before);
    },
  );

  // Heights halve to 16, 8 | 14, 7 | 8 | 32, 16, 8 | 12, 6 | 15: the first that is odd or at most 8 is the last.
  test.each([
    [32, 4, 2],
    [28, 4, 2],
    [16, 4, 1],
    [64, 8, 3],
    [24, 8, 2],
    [30, 4, 1],
    [64, 2, 2],
  ])("height %i with %i blocks has %i levels", (height, blocks, levels) => {
    expect(encoderLevels(height, blocks)).toBe(levels);
    const encoder = new EncoderUnet({
      ...official,
      ...readmeEnds,
      layout: "multiple-blocks",
      height,
      blocks,
    });
    expect(encoder.down.map((level) => level.blocks.length)).toEqual(
      Array.from({ length: levels }, () => Math.floor(blocks / levels)),
    );
    expect(encoder.up).toHaveLength(levels);
  });

  test("images that do not halve at every level are refused, and the sizes that do are named", () => {
    expect(() => small({ height: 10 })).toThrow(/height and width are multiples of 4 .*got 10 x 10/);
    const encoder = small().initialise(new Streams(1), float64);
    const run = () => encoder.forward(image([1, 2, 8, 6], 1), tensor([0], float64), tensor([0]), {});
    expect(run).toThrow(/multiples of 4 .*got 8 x 6/);
  });
});

describe("at initialisation y and dy/dgamma are 0", () => {
  const gamma = tensor([-13.3, 1], float64);
  const condition = tensor([0, 3], float64);

  test.each(["unet", "multiple-blocks"] as const)("%s", (layout) => {
    const encoder = small({ layout }).initialise(new Streams(1), float64);
    const { value, derivative } = noGrad(() =>
      directionalDerivative((g) => encoder.forward(image([2, 2, 8, 8], 1), g, condition, {}), gamma),
    );
    expect([value.abs().max().item(), derivative.abs().max().item()]).toEqual([0, 0]);
  });

  test("points", () => {
    const options = { dimensions: 2, hidden: 128, fourierExponents: [0, 1, 2, 3, 4, 5, 6, 7], ...readmeEnds };
    const encoder = new EncoderMlp(options).initialise(new Streams(1), float64);
    // (2 + 1) (1 + 2 * 8) = 51 features through 128, 128 and 2
    expect(encoder.parameterCount()).toBe(51 * 128 + 128 + 128 * 128 + 128 + 128 * 2 + 2);
    const x = image([2, 2], 1);
    expect(encoder.forward(x, gamma, condition, {}).abs().max().item()).toBe(0);
    const y = disturb(encoder, 2).forward(x, gamma, condition, {});
    expect(y.abs().max().item()).toBeLessThan(1);
    expect(y.abs().max().item()).toBeGreaterThan(0.01);
  });
});

describe("the derivative in the noise level", () => {
  const x = image([3, 2, 8, 8], 3);
  const gamma = tensor([-13, -2.5, 4], float64);
  const condition = tensor([0, 1, 0], float64);
  const encoder = disturb(small().initialise(new Streams(1), float64), 4, 0.3);
  const both = (x: Tensor, gamma: Tensor, condition: Tensor) =>
    directionalDerivative((g) => encoder.forward(x, g, condition, {}), gamma);

  test("equals central differences", () => {
    const { value, derivative } = both(x, gamma, condition);
    expect(value.abs().max().item()).toBeLessThan(1);
    // The embedding turns by up to 55 rad a unit of gamma: an error of h^2 55^3 / 6, 3e-6, at h = 1e-5.
    const h = 1e-5;
    const at = (g: Tensor) => noGrad(() => encoder.forward(x, g, condition, {}));
    const slope = at(gamma.add(h))
      .sub(at(gamma.sub(h)))
      .div(2 * h);
    expect(slope.abs().max().item()).toBeGreaterThan(0.1);
    close(derivative, slope, 1e-5, "dy/dgamma", { absolute: 1e-5 });
  });

  test("of an image is its own", () => {
    const all = both(x, gamma, condition);
    const one = both(x.narrow(0, 1, 1), gamma.narrow(0, 1, 1), condition.narrow(0, 1, 1));
    close(one.value, all.value.narrow(0, 1, 1), 1e-10, "y of the second image alone");
    close(one.derivative, all.derivative.narrow(0, 1, 1), 1e-9, "dy/dgamma of the second image alone");
  });

  test("value and derivative come from one dropout mask, the same in every pass of one key", () => {
    const wet = disturb(small({ dropout: 0.5 }).initialise(new Streams(1), float64), 4, 0.3);
    const at = (g: Tensor, seed: number) =>
      wet.forward(x, g, condition, { dropout: new Streams(seed).dropoutKeys() });
    const { value, derivative } = directionalDerivative((g) => at(g, 5), gamma);
    same(at(gamma, 5), value, "y of the same key");
    expect(at(gamma, 6).toArray()).not.toEqual(value.toArray());
    const h = 1e-5;
    const slope = noGrad(() =>
      at(gamma.add(h), 5)
        .sub(at(gamma.sub(h), 5))
        .div(2 * h),
    );
    close(derivative, slope, 1e-5, "dy/dgamma of the masked network", { absolute: 1e-5 });
  });

  test("bfloat16 stays near float32", () => {
    const single = disturb(small({ blockGroups: 4 }).initialise(new Streams(1)), 4, 0.3);
    const [input, c] = [x.to("float32"), condition.to("float32")];
    const run = (precision: "float32" | "bfloat16") =>
      directionalDerivative((g) => single.forward(input, g, c, { precision }), gamma);
    const [wide, narrow] = [run("float32"), run("bfloat16")];
    for (const key of ["value", "derivative"] as const) {
      expect(narrow[key].dtype).toBe("float32");
      const error = narrow[key].sub(wide[key]).square().mean().item() / wide[key].square().mean().item();
      expect(Math.sqrt(error), key).toBeLessThan(0.1); // 8 bits of mantissa through a dozen layers
      expect(error, key).toBeGreaterThan(0);
    }
  });
});

describe("by name", () => {
  const context = { imageChannels: 3, height: 32, ...readmeEnds };

  test("the official encoders are the defaults", () => {
    const count = (kind: string) => createEncoder(encoderSchema.parse({ kind }), context).parameterCount();
    expect([count("unet"), count("multiple-blocks")]).toEqual([1_906_243, 2_744_131]);
  });

  test("groups that the channels do not divide into are refused by their key", () => {
    const parse = (options: object) => encoderSchema.safeParse({ kind: "unet", channels: 24, ...options });
    expect(parse({ groups: 8, blockGroups: 8 }).success).toBe(true);
    const { error } = parse({ groups: 16, blockGroups: 8 });
    expect(error?.issues.map(({ path, message }) => [path, message])).toEqual([
      [["groups"], "expected a divisor of the 24 channels"],
    ]);
  });
});

test("uniform pixels of an image leave no NaN behind: pooling and normalisation of a constant map", () => {
  const encoder = disturb(small().initialise(new Streams(1), float64), 4, 0.3);
  const flat = rand([1, 1, 1, 1], new Generator({ seed: 1 }), float64).expand([1, 2, 8, 8]);
  const { derivative } = directionalDerivative(
    (g) => encoder.forward(flat, g, tensor([0], float64), {}),
    tensor([0], float64),
  );
  expect(derivative.isFinite().all().item()).toBe(1);
});
