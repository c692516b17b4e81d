/** Degradations against golden/vcd: degradations, dct, ihdm, cold_bansal and the starts of sampling, at their README's tolerances. */
import { describe, expect, test } from "vitest";
import {
  AddedNoise,
  createDegradation,
  type Degradation,
  dct2,
  dctMatrix,
  degradationSchema,
  degraded,
  GaussianBlur,
  gaussianKernel,
  gaussianWidths,
  HeatBlur,
  inverseDct2,
  noiseBetas,
  spreadHeat,
} from "../../src/diffusion/index.js";
import { type Tensor, tensor } from "../../src/torch/index.js";
import { close, GoldenFile, same } from "../golden.js";

const file = new GoldenFile("vcd", "degradations");

/** The kernels of the original by the name of the data set. */
const kernels = {
  mnist: { size: 5, widths: "constant", padding: "circular" },
  cifar10: { size: 27, widths: "linear", padding: "reflect" },
} as const;

function named(operator: string, set: keyof typeof kernels, levels: number): Degradation {
  const kind = operator.replace("blur_bansal", "gaussian-blur").replace("_", "-");
  const options = kind.endsWith("gaussian-blur") ? kernels[set] : {};
  return createDegradation(degradationSchema.parse({ kind, levels, ...options }));
}

/** Levels of the official indices t = level - 1. */
const levelsOf = (t: Tensor) => t.add(1).to("int64");
const repeated = (x: Tensor, count: number) => x.expand([count, ...x.shape.slice(1)]);
const within = (actual: Tensor, expected: Tensor, absolute: number, what: string) =>
  close(actual, expected, 0, what, { absolute });

const names = file.matching(/^(\w+\.S\d+\.C\d+\.T\d+)\./);

describe.each(names)("%s", (name) => {
  const [, set, T] = /^(\w+?)\..*T(\d+)$/.exec(name) as unknown as [string, keyof typeof kernels, string];
  const levels = Number(T);
  const operators = file.keys
    .flatMap((key) => (key.startsWith(`${name}.`) ? [key.slice(name.length + 1)] : []))
    .filter((key) => !/^(x|noise|t|mixed\..*|kernel\..*)$/.test(key));

  test("has operators", () => expect(operators.length).toBeGreaterThan(4));

  test.each(operators)("%s", (operator) => {
    const t = file.tensor(`${name}.t`);
    const x = repeated(file.tensor(`${name}.x`), t.dim(0));
    const state = named(operator, set, levels).degrade(x, levelsOf(t));
    const expected = file.tensor(`${name}.${operator}`);
    if (operator === "pixelation") same(state, expected, operator);
    else within(state, expected, 2e-6, operator);
  });

  test("noise", () => {
    // The entry is the noised image of all levels but the clean one, with one noise that the file does not hold: it is
    // taken from the last level, where there is least else, and has to explain the others.
    const t = file.tensor(`${name}.t`).slice(0, 1);
    const noise = new AddedNoise({ levels });
    const x = repeated(file.tensor(`${name}.x`), t.dim(0));
    const expected = file.tensor(`${name}.noise`);
    const last = levelsOf(t.slice(0, -1));
    expect(last.toArray()).toEqual([levels]);
    const mean = noise.degrade(file.tensor(`${name}.x`), last);
    const unit = expected
      .slice(0, -1)
      .sub(mean)
      .div(noise.noiseDeviation(last, x.slice(0, -1)));
    within(degraded(noise, x, levelsOf(t), repeated(unit, t.dim(0))), expected, 2e-6, "noise");
  });

  test("mixed", () => {
    const t = file.tensor(`${name}.mixed.t`);
    const state = named("black_blur", set, levels).degrade(file.tensor(`${name}.mixed.x`), levelsOf(t));
    within(state, file.tensor(`${name}.mixed.black_blur`), 2e-6, "mixed");
  });

  test.each([0, 5])("kernel %i", (i) => {
    const { size, widths } = kernels[set];
    const g = gaussianKernel(size, gaussianWidths(widths, levels)[i] as number);
    within(outer(g), file.tensor(`${name}.kernel.${i}`), 2e-6, "kernel");
  });
});

const outer = (g: Float64Array) =>
  tensor(
    Array.from(g, (a) => Array.from(g, (b) => a * b)),
    { dtype: "float64" },
  );

describe("dct", () => {
  const dct = new GoldenFile("vcd", "dct");

  test.each(dct.matching(/^dct\.N(\d+)\.x$/))("N = %s", (N) => {
    const x = dct.tensor(`dct.N${N}.x`);
    const y = dct2(x);
    within(y, dct.tensor(`dct.N${N}.ortho`), 2e-6, "ortho");
    within(inverseDct2(y), x, 1e-12, "inverse");
    close(y.square().sum(), x.square().sum(), 1e-12, "Parseval");
    // Without the weights w, and with a factor 2 in each direction.
    const size = Number(N);
    const weight = Float64Array.from({ length: size }, (_, k) => 2 / Math.sqrt((k === 0 ? 1 : 2) / size));
    within(y.mul(outer(weight)), dct.tensor(`dct.N${N}.plain`), 2e-4, "plain");
  });

  test.each(dct.matching(/^heat\.S16\.(tau\d+)$/))("heat %s", (name) => {
    const tau = dct.number(`heat.S16.${name}.value`);
    within(spreadHeat(dct.tensor("heat.S16.x"), tau), dct.tensor(`heat.S16.${name}`), 2e-6, name);
  });

  /** `sum_i cos^2(pi (2i + 1) k / (2 S)) = S / 2`: a mode of the basis has one coefficient, sqrt(S / 2). */
  test("of a cosine", () => {
    const [S, k] = [9, 3];
    const mode = tensor(
      [Array.from({ length: S }, (_, i) => Math.cos((Math.PI * (2 * i + 1) * k) / (2 * S)))],
      {
        dtype: "float64",
      },
    );
    const expected = Array.from({ length: S }, (_, j) => (j === k ? Math.sqrt(S / 2) : 0));
    close(mode.matmul(dctMatrix(S).transpose(0, 1)).flatten(), expected, 0, "cosine", { absolute: 1e-14 });
  });
});

test("heat of Rissanen et al.", () => {
  const ihdm = new GoldenFile("vcd", "ihdm");
  const widths = ihdm.numbers("small.blur_schedule");
  const blur = new HeatBlur({
    levels: widths.length - 1,
    firstWidth: widths[1] as number,
    lastWidth: widths.at(-1) as number,
    lastReached: "once",
  });
  close(blur.widths(12), widths, 1e-12, "widths", { rule: "relative" });
  expect(blur.end).toBe("blurred");
  const state = blur.degrade(ihdm.tensor("x"), ihdm.tensor("k").to("int64"));
  within(state, ihdm.tensor("blurred"), 2e-6, "blurred");
});

describe("cold diffusion of Bansal et al.", () => {
  const cold = new GoldenFile("vcd", "cold_bansal");
  const both = (levels: number, count: number) =>
    [1, levels].map((level) => tensor(new Array<number>(count).fill(level), { dtype: "int64" }));

  test.each([
    ["Constant", { size: 5, widths: "constant", scale: 2, padding: "circular", levels: 5 }],
    ["Incremental", { size: 3, widths: "incremental", scale: 0.2, padding: "circular", levels: 5 }],
    ["Exponential_reflect", { size: 7, widths: "exponential", scale: 0.05, padding: "reflect", levels: 5 }],
    ["Special_6_routine", { size: 11, widths: "linear", padding: "reflect", levels: 5 }],
  ] as const)("%s", (routine, options) => {
    const blur = new GaussianBlur({ ...options, last: "blurred" });
    const x = cold.tensor("x");
    const expected = cold.tensor(`${routine}.forward`);
    for (const [i, level] of both(options.levels, x.dim(0)).entries())
      within(blur.degrade(x, level), expected.select(0, i), 5e-6, `${routine} ${i}`);
  });

  test("Exponential, discrete", () => {
    const options = { size: 9, widths: "exponential", scale: 0.05, padding: "circular", levels: 6 } as const;
    const blur = new GaussianBlur({ ...options, last: "mean" });
    const x = cold.tensor("x");
    const expected = cold.tensor("Exponential.forward");
    for (const [i, level] of both(options.levels, x.dim(0)).entries()) {
      // Quantised in training: y = trunc(255 (x + 1) / 2) / 255 * 2 - 1. One step of 2/255 on 0.5 % of the pixels.
      const y = blur.degrade(x, level).add(1).div(2).mul(255).floor().div(255).mul(2).sub(1);
      const difference = y.sub(expected.select(0, i)).abs().toArray();
      expect(Math.max(...difference)).toBeLessThan(2 / 255 + 5e-6);
      expect(difference.filter((d) => d > 5e-6).length).toBeLessThanOrEqual(0.005 * difference.length);
    }
  });

  test("kernels", () => {
    within(outer(gaussianKernel(11, 0.35)), cold.tensor("Special_6_routine.kernel0"), 5e-6, "0.35");
    within(outer(gaussianKernel(7, 14)), cold.tensor("Individual_Incremental.kernel3"), 5e-6, "2 (2i + 1)");
  });

  test("hot diffusion's schedule", () => {
    let abar = 1;
    const products = noiseBetas("cosine", 6).map((beta) => (abar *= 1 - beta));
    close(products, cold.numbers("hot.alphas_cumprod"), 0, "abar", { absolute: 5e-6 });
  });
});

describe("starts of sampling", () => {
  const sampling = new GoldenFile("vcd", "sampling");

  test.each(sampling.matching(/^alg2\.(\w+)\.traj$/))("%s", (operator) => {
    const x = sampling.tensor("x0");
    const levels = sampling.tensor(`alg2.${operator}.traj`).dim(0) - 1;
    const level = tensor(new Array<number>(x.dim(0)).fill(levels), { dtype: "int64" });
    const start = named(operator, "mnist", levels).degrade(x, level);
    for (const algorithm of ["alg1", "alg2"])
      within(start, sampling.tensor(`${algorithm}.${operator}.traj`).select(0, 0), 5e-6, operator);
  });
});
