/** What holds of degradations in closed form, whatever the image: level 0, ends, means, semigroup, bounds, gradients, devices. */
import { describe, expect, test } from "vitest";
import {
  AddedNoise,
  createDegradation,
  degradationSchema,
  degraded,
  Fading,
  GaussianBlur,
  HeatBlur,
  heatMatrix,
  Pixelation,
  pixelIndices,
  spreadHeat,
} from "../../src/diffusion/index.js";
import { UserError } from "../../src/errors.js";
import {
  autocast,
  Generator,
  grad,
  liveTensors,
  rand,
  randn,
  scope,
  type Tensor,
  tensor,
  torchVersion,
} from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";
import { close, same } from "../golden.js";

const float64 = { dtype: "float64" } as const;
const image = (shape: readonly number[], seed = 1) => rand(shape, new Generator({ seed }), float64);
const at = (...levels: number[]) => tensor(levels, { dtype: "int64" });
const within = (a: Tensor, b: Tensor, absolute: number, what: string) => close(a, b, 0, what, { absolute });
const kinds = degradationSchema.options.map((option) => option.shape.kind.value);
const made = (kind: (typeof kinds)[number], levels: number) =>
  createDegradation(degradationSchema.parse({ kind, levels }));
const norm = (x: Tensor) => Math.sqrt(x.square().sum().item());
const spatialMean = (x: Tensor) => x.mean([2, 3], { keepDims: true });

describe.each(kinds)("%s", (kind) => {
  const T = 6;
  const degradation = made(kind, T);
  const devices = torchVersion().cudaDevices > 0 ? ["cpu", "cuda:0"] : ["cpu"];

  test.each(devices)("level 0 is the identity bit for bit on %s", (device) => {
    for (const dtype of ["float32", "float64"] as const) {
      const x = randn([2, 3, 14, 11], new Generator({ seed: 2 })).toDevice(device, dtype);
      const state = degradation.degrade(x, at(0, 0).toDevice(device, "int64"));
      expect([state.dtype, state.device]).toEqual([x.dtype, x.device]);
      same(state, x, kind);
    }
  });

  test("levels of a batch are those of its images one by one", () => {
    const x = image([T + 1, 2, 12, 12]);
    const levels = Array.from({ length: T + 1 }, (_, k) => (k * 2) % (T + 1));
    const together = degradation.degrade(x, at(...levels));
    for (const [i, level] of levels.entries())
      within(together.narrow(0, i, 1), degradation.degrade(x.narrow(0, i, 1), at(level)), 1e-15, `${i}`);
  });

  test("is linear, and so is its gradient the adjoint: <D x, y> = <x, D^T y>", () => {
    const x = image([2, 1, 12, 12]).requireGrad();
    const y = image([2, 1, 12, 12], 3);
    const product = degradation.degrade(x, at(1, 4)).mul(y).sum();
    const [adjoint] = grad([product], [x]) as [Tensor];
    close(product, x.detach().mul(adjoint).sum(), 1e-12, "product");
  });

  test("is the same under autocast", () => {
    const x = image([1, 1, 12, 12]).to("float32");
    const plain = degradation.degrade(x, at(3));
    const cast = autocast({ dtype: "bfloat16" }, () => degradation.degrade(x, at(3)));
    expect(cast.dtype).toBe("float32");
    same(cast, plain, kind);
  });

  test("keeps its tables and nothing else", () => {
    const x = image([2, 1, 12, 12]);
    const level = at(1, 2);
    const run = () => scope(() => void degradation.degrade(x, level));
    run();
    collectGarbage();
    const before = liveTensors();
    run();
    expect(liveTensors()).toBe(before);
  });

  test("refuses a level too few", () => {
    expect(() => degradation.degrade(image([2, 1, 12, 12]), at(1))).toThrow(/a level for each of 2 images/);
  });

  test("at its last level is what it says", () => {
    const x = image([2, 3, 12, 12]);
    const state = degradation.degrade(x, at(T, T));
    const constant = (expected: Tensor, absolute: number) =>
      within(state, expected.expand(state.shape), absolute, kind);
    if (degradation.end === "black") constant(x.mul(0), 0);
    else if (degradation.end === "corner") constant(x.slice(2, 0, 1).slice(3, 0, 1), 0);
    else if (degradation.end === "colour")
      // Heat over the whole side leaves exp(-pi^2 / 2) = 0.7 % of the slowest mode.
      constant(spatialMean(x), kind === "blur" ? 0.0072 * norm(x) : 1e-15);
    else expect(degradation.noiseDeviation?.(at(T), x.slice(0, 0, 1)).item()).toBeGreaterThan(0.999);
  });
});

describe("heat", () => {
  const x = image([2, 3, 9, 14]);

  test("spreads for a and then b as for a + b, keeps means and constants", () => {
    within(spreadHeat(spreadHeat(x, 0.7), 2.1), spreadHeat(x, 2.8), 1e-14, "semigroup");
    within(spatialMean(spreadHeat(x, 5)), spatialMean(x), 1e-14, "mean");
    same(spreadHeat(x, 0), x, "no time");
    const constant = spatialMean(x).expand(x.shape);
    within(spreadHeat(constant, 3), constant, 1e-14, "constant");
  });

  test("matrices are symmetric and of row sum 1", () => {
    const matrix = heatMatrix(13, 4.5);
    within(matrix, matrix.transpose(0, 1), 1e-15, "symmetric");
    close(matrix.sum([1]), new Array<number>(13).fill(1), 1e-14, "row sums");
  });

  test("commutes with flips and, on squares, with transposition", () => {
    const blur = new HeatBlur({ levels: 6 });
    const square = image([1, 2, 12, 12]);
    const blurred = blur.degrade(square, at(3));
    for (const turn of [
      (y: Tensor) => y.flip([3]),
      (y: Tensor) => y.flip([2]),
      (y: Tensor) => y.transpose(2, 3),
    ])
      within(blur.degrade(turn(square), at(3)), turn(blurred), 1e-14, "turned");
  });

  /** The mode cos(pi (2i + 1) k / (2 S)) along one axis is multiplied with exp(-(pi k / S)^2 sigma^2 / 2). */
  test("of a cosine", () => {
    const [S, k] = [12, 2];
    const row = Array.from({ length: S }, (_, i) => Math.cos((Math.PI * (2 * i + 1) * k) / (2 * S)));
    const mode = tensor(row, float64).expand([1, 1, S, S]);
    const blur = new HeatBlur({ levels: 6, firstWidth: 0.5, lastWidth: 4, lastReached: "once" });
    // Widths 0.5, 0.5 * 8^(1/5), ...: the fourth is 0.5 * 8^(3/5).
    const sigma = 0.5 * 8 ** 0.6;
    const factor = Math.exp(-(((Math.PI * k) / S) ** 2) * (sigma ** 2 / 2));
    within(blur.degrade(mode, at(4)), mode.mul(factor), 1e-14, "mode");
  });

  test("energy falls with the level, and from two pixels on no value leaves the image's range", () => {
    const T = 8;
    const square = image([1, 1, 28, 28]);
    const blur = new HeatBlur({ levels: T });
    const states = Array.from({ length: T + 1 }, (_, k) => blur.degrade(square, at(k)));
    const norms = states.map(norm);
    // The last width is that of the last two levels.
    for (let k = 1; k < T; k++) expect(norms[k]).toBeLessThan(norms[k - 1] as number);
    expect(norms[T]).toBe(norms[T - 1]);
    const widths = blur.widths(28);
    for (const [k, state] of states.entries()) {
      if ((widths[k] as number) < 2) continue;
      expect(state.min().item()).toBeGreaterThanOrEqual(square.min().item() - 1e-9);
      expect(state.max().item()).toBeLessThanOrEqual(square.max().item() + 1e-9);
    }
  });

  test("refuses widths that fall", () => {
    const blur = new HeatBlur({ levels: 6, firstWidth: 5, lastWidth: 2 });
    expect(() => blur.degrade(x, at(1, 1))).toThrow(/5 to 2 pixels/);
  });

  /** Away from the borders it is the Gaussian filter of the same width, whose truncated spectrum at 2 pixels is 2e-7 off. */
  test("of a point is a Gaussian", () => {
    const S = 41;
    const point = tensor(
      Array.from({ length: S }, (_, i) =>
        Array.from({ length: S }, (_, j) => (i === 20 && j === 20 ? 1 : 0)),
      ),
      float64,
    );
    const gaussian = (i: number) => Math.exp(-((i - 20) ** 2) / 8) / Math.sqrt(8 * Math.PI);
    const expected = Array.from({ length: S * S }, (_, n) => gaussian(Math.floor(n / S)) * gaussian(n % S));
    close(spreadHeat(point, 2).flatten(), expected, 0, "point", { absolute: 2e-7 });
  });
});

describe("Gaussian kernels", () => {
  const options = {
    levels: 5,
    size: 5,
    widths: "constant",
    scale: 1.3,
    padding: "circular",
    last: "blurred",
  } as const;

  test("circular padding keeps the mean, both keep constants", () => {
    const x = image([1, 3, 9, 8]);
    const constant = spatialMean(x).expand(x.shape);
    for (const padding of ["circular", "reflect"] as const) {
      const blur = new GaussianBlur({ ...options, padding });
      for (const level of [1, 3, 5]) {
        within(blur.degrade(constant, at(level)), constant, 1e-14, "constant");
        if (padding === "circular")
          within(spatialMean(blur.degrade(x, at(level))), spatialMean(x), 1e-14, "mean");
      }
    }
  });

  /** Of a wave of the whole width the kernel leaves sum_j g_j cos(2 pi j / S), once a level. */
  test("of a wave under circular padding", () => {
    const S = 10;
    const wave = tensor(
      Array.from({ length: S }, (_, i) => Math.cos((2 * Math.PI * i) / S)),
      float64,
    );
    const g = [-2, -1, 0, 1, 2].map((j) => Math.exp(-(j ** 2) / (2 * 1.3 ** 2)));
    const total = g.reduce((sum, each) => sum + each, 0);
    const left = g.reduce((sum, each, j) => sum + each * Math.cos((2 * Math.PI * (j - 2)) / S), 0) / total;
    const x = wave.expand([1, 1, S, S]);
    within(new GaussianBlur(options).degrade(x, at(3)), x.mul(left ** 3), 1e-14, "wave");
  });

  /** Reflected without the edge: left of pixel 0 lies pixel 1, so a point there is seen twice by a kernel of three. */
  test("of a point beside the border under reflection", () => {
    const point = tensor([0, 1, 0, 0], float64).expand([1, 1, 4, 4]);
    const blur = new GaussianBlur({ ...options, size: 3, padding: "reflect" });
    const side = Math.exp(-1 / (2 * 1.3 ** 2)) / (1 + 2 * Math.exp(-1 / (2 * 1.3 ** 2)));
    const row = blur.degrade(point, at(1)).select(2, 0).flatten();
    close(row, [2 * side, 1 - 2 * side, side, 0], 0, "row", { absolute: 1e-15 });
  });

  test("refuses kernels that reach over the whole image, and even ones", () => {
    const blur = new GaussianBlur({ ...options, size: 27, padding: "reflect" });
    expect(() => blur.degrade(image([1, 1, 13, 13]), at(1))).toThrow(UserError);
    expect(blur.degrade(image([1, 1, 14, 14]), at(1)).shape).toEqual([1, 1, 14, 14]);
    expect(degradationSchema.safeParse({ kind: "gaussian-blur", size: 4 }).success).toBe(false);
  });
});

describe("pixelation", () => {
  test("takes colours from the image alone", () => {
    const x = image([1, 1, 28, 28]);
    const colours = new Set(x.toArray());
    for (const value of new Pixelation({ levels: 6 }).degrade(x, at(4)).toArray())
      expect(colours.has(value)).toBe(true);
  });

  /** Those that divide the side, and those that leave one square; up to the largest of the schedule. */
  test.each([
    [28, [1, 2, 4, 7, 14, 15, 16, 17, 18, 19]],
    [32, [1, 2, 4, 8, 16, 17, 18, 19, 20, 21]],
    [64, [1, 2, 4, 8, 16, 32, 33, 34, 35, 36]],
  ])("of side %i is idempotent for these squares alone", (side, expected) => {
    const idempotent = Array.from({ length: expected.at(-1) ?? 0 }, (_, i) => i + 1).filter((factor) => {
      const from = pixelIndices(side, factor);
      return from.every((i) => from[i] === i);
    });
    expect(idempotent).toEqual(expected);
  });

  test("refuses more levels than pixels", () => {
    expect(() => new Pixelation({ levels: 13 }).degrade(image([1, 1, 12, 12]), at(1))).toThrow(UserError);
  });
});

describe("fading", () => {
  test("black multiplies, and composes after the other", () => {
    const x = image([6, 1, 12, 12]);
    const levels = at(1, 2, 3, 4, 5, 6);
    const fading = new Fading(6);
    // The specification's table of six levels.
    const a = tensor([0.9998446, 0.8985662, 0.6473776, 0.3407567, 0.0940309, 0], float64).reshape([
      6, 1, 1, 1,
    ]);
    within(fading.degrade(x, levels), x.mul(a), 1e-7, "black");
    const blur = new HeatBlur({ levels: 6 });
    within(new Fading(blur).degrade(x, levels), blur.degrade(x, levels).mul(a), 1e-7, "black-blur");
  });

  test("refuses noise", () => {
    expect(() => new Fading(new AddedNoise({ levels: 6 }))).toThrow(UserError);
  });
});

describe("noise", () => {
  test("keeps the variance of a standard normal image: signal^2 + deviation^2 = 1", () => {
    const noise = new AddedNoise({ levels: 20, schedule: "linear" });
    const levels = at(0, 1, 7, 19, 20);
    const white = image([5, 1, 1, 1]).mul(0).add(1);
    const signal = noise.degrade(white, levels);
    const total = signal.square().add(noise.noiseDeviation(levels, white).square());
    within(total, white, 1e-14, "variance");
  });

  test("degraded adds it where there is one", () => {
    const x = image([2, 1, 12, 12]);
    const unit = image([2, 1, 12, 12], 4);
    const noise = new AddedNoise({ levels: 6 });
    // The specification's first beta of six: 0.0721306.
    const expected = x.mul(Math.sqrt(1 - 0.0721306)).add(unit.mul(Math.sqrt(0.0721306)));
    within(degraded(noise, x, at(1, 1), unit), expected, 1e-6, "noised");
    const blur = new HeatBlur({ levels: 6 });
    same(degraded(blur, x, at(1, 2), unit), blur.degrade(x, at(1, 2)), "no noise");
  });
});
