/** The diffusion loss as work along the path of noise levels: what it depends on, and what not. */
import { describe, expect, test } from "vitest";
import type { Denoiser, PredictionKind } from "../../src/diffusion/index.js";
import {
  type ConditionalSchedule,
  SharedByPixels,
  SigmoidSchedule,
} from "../../src/diffusion/schedule/conditional/index.js";
import { MonotonePaper } from "../../src/diffusion/schedule/index.js";
import { MuLAN } from "../../src/systems/mulan.js";
import { Generator, noGrad, operator, randn, Streams, type Tensor, tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import {
  ends,
  everyStep,
  expectedDiffusion,
  FixedMatrix,
  float64,
  GaussianPoints,
  polynomialOf,
  quadrature,
} from "./points.js";

const file = new GoldenFile("mulan", "gaussian");
const covariance = file.tensor("li_cov");
const zero = covariance.select(0, 0).mul(0);
/** x0 ~ N(0, Sigma), and the file's one point. */
const data = {
  mean: { mean: zero, factor: operator("aten::linalg_cholesky")(covariance) },
  point: { mean: file.tensor("li_x") },
} as const;
const times = quadrature(64);

function system(schedule: ConditionalSchedule, denoiser: Denoiser, prediction: PredictionKind): MuLAN {
  return new MuLAN({ shape: [2], schedule, denoiser, prediction, latentSize: 1, ends });
}

const wrong = file.tensor("li_cov_wrong");
const denoisers: Record<string, [Denoiser, PredictionKind]> = {
  exact: [new GaussianPoints({ mean: zero, covariance }), "eps"],
  wrongcov: [new GaussianPoints({ mean: zero, covariance: wrong }, { kind: "v" }), "v"],
  meansnr: [new GaussianPoints({ mean: zero, covariance }, { kind: "x", sees: "mean" }), "x"],
  fixedW: [new FixedMatrix(file.tensor("li_W")), "eps"],
};
const pair = (name: string) => denoisers[name] as [Denoiser, PredictionKind];

/** Path i as a polynomial for each of both coordinates. */
function path(i: number) {
  const [a, b, d] = file.tensor("li_path_coefs").select(0, i).split(1, 1) as [Tensor, Tensor, Tensor];
  return polynomialOf({ a: a.flatten(), b: b.flatten(), d: d.flatten() });
}
const paths = Array.from({ length: file.tensor("li_path_coefs").dim(0) }, (_, i) => path(i));

describe.each(Object.keys(data) as (keyof typeof data)[])("the loss along four paths, %s", (law) => {
  test.each(Object.keys(denoisers))("denoiser %s", (name) => {
    const losses = paths.map((each) => expectedDiffusion(system(each, ...pair(name)), data[law], times));
    close(losses, file.numbers(`li_loss_${name}_${law}`), 1e-7, `li_loss_${name}_${law}`, {
      rule: "relative",
    });
    const apart = Math.max(...losses) / Math.min(...losses) - 1;
    // Posterior means of a Gaussian, the right one or not, make a conservative force.
    if (name === "exact" || name === "wrongcov") expect(apart).toBeLessThan(1e-8);
    else expect(apart).toBeGreaterThan(0.01);
  });
});

test("the exact denoiser's loss in closed form, 1/2 log det(1 + Sigma N) between the ends", () => {
  const closed = file.number("li_exact_closed_form");
  for (const each of paths) {
    const loss = expectedDiffusion(system(each, ...pair("exact")), data.mean, times);
    close(loss, closed, 1e-9, "loss", { rule: "relative" });
  }
});

describe("a scalar schedule's interior does not matter, whatever the denoiser", () => {
  const unlike = { a: [2, -3], b: [-4, 1], d: [2.5, 1] };
  const [a, b, d] = Object.values(unlike).map((row) => tensor(row, float64)) as [Tensor, Tensor, Tensor];
  const draw = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }), float64);
  const bent = new MonotonePaper({ ...ends, hidden: 8 }).initialise(new Streams(1), float64);
  noGrad(() => {
    for (const [name, value] of bent.values()) if (/l[23]/.test(name)) value.copy_(draw(value.shape, 2));
  });
  const sigmoid = new SigmoidSchedule({ ...ends, latentSize: 1, dimensions: 1, hidden: 1 });
  sigmoid.initialise(new Streams(1), float64);
  noGrad(() => sigmoid.w.bias?.value.copy_(tensor([6], float64)));
  const schedules: Record<string, ConditionalSchedule> = {
    "the mean of two polynomials": polynomialOf({ a, b, d }, { pixels: "mean" }),
    "a sigmoid": sigmoid,
    "a monotone network": new SharedByPixels(bent),
  };

  test.each(Object.keys(schedules))("%s", (name) => {
    const schedule = schedules[name] as ConditionalSchedule;
    for (const [kind, denoiser] of Object.entries(denoisers)) {
      const loss = expectedDiffusion(system(schedule, ...denoiser), data.point, times);
      // The first path of the golden file is a line for both coordinates.
      const [line = Number.NaN] = file.numbers(`li_loss_${kind}_point`);
      close(loss, line, 1e-8, `${name}, ${kind}`, { rule: "relative" });
    }
  });

  test("but that of one for each coordinate does", () => {
    const each = expectedDiffusion(system(polynomialOf({ a, b, d }), ...pair("fixedW")), data.point, times);
    const [line = Number.NaN] = file.numbers("li_loss_fixedW_point");
    expect(Math.abs(each / line - 1)).toBeGreaterThan(1e-3);
  });
});

test.each(["exact", "fixedW"])("the loss of a chain tends to the continuous one like 1/T: %s", (name) => {
  const mulan = system(paths[1] as ConditionalSchedule, ...pair(name));
  const [, continuous = Number.NaN] = file.numbers(`li_loss_${name}_mean`);
  const [e200, e1000, e5000] = [200, 1000, 5000].map(
    (steps) => expectedDiffusion(mulan, data.mean, everyStep(steps), { steps }) - continuous,
  ) as [number, number, number];
  // What is left of the second order: some per cent of the excess of 200 steps, a fifth of that at 1000.
  expect(Math.abs(e200 / e1000 / 5 - 1)).toBeLessThan(0.1);
  expect(Math.abs(e1000 / e5000 / 5 - 1)).toBeLessThan(0.02);
});
