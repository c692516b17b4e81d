/** The line integral: the golden losses, closed forms, what the figure says, and how it is asked for. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import {
  type Coefficients,
  fixedMatrix,
  forceOf,
  lineIntegral,
  type Matrix,
  ofMeanGamma,
  type Path,
  posteriorMean,
  workAlong,
} from "../../src/analysis/line-integral.js";
import { analyzeCommand } from "../../src/cli/analyze.js";
import { UserError } from "../../src/errors.js";
import { close, GoldenFile } from "../golden.js";

const golden = new GoldenFile("mulan", "gaussian");

function matrix(key: string): Matrix {
  const [a = 0, b = 0, c = 0, d = 0] = golden.numbers(key);
  return [
    [a, b],
    [c, d],
  ];
}

const covariance = matrix("li_cov");
const [x1 = 0, x2 = 0] = golden.numbers("li_x");
/** E x_0 x_0^T of data drawn from N(0, covariance), and of one point. */
const moments: Record<string, Matrix> = {
  mean: covariance,
  point: [
    [x1 * x1, x1 * x2],
    [x1 * x2, x2 * x2],
  ],
};
const denoisers = {
  exact: posteriorMean(covariance),
  wrongcov: posteriorMean(matrix("li_cov_wrong")),
  meansnr: ofMeanGamma(covariance),
  fixedW: fixedMatrix(matrix("li_W")),
};
const coefficients = golden.numbers("li_path_coefs");
const coefficientsAt = (i: number): Coefficients => {
  const [a = 0, b = 0, d = 0] = coefficients.slice(3 * i, 3 * i + 3);
  return [a, b, d];
};
const paths = Array.from(
  { length: coefficients.length / 6 },
  (_, i): Path => [coefficientsAt(2 * i), coefficientsAt(2 * i + 1)],
);

describe("the work along a path", () => {
  test.each(Object.entries(denoisers))("is the golden loss of denoiser %s", (name, denoiser) => {
    for (const [kind, second] of Object.entries(moments)) {
      const force = forceOf(denoiser, second);
      const losses = paths.map((one) => workAlong(one, force).total);
      close(losses, golden.numbers(`li_loss_${name}_${kind}`), 1e-7, `${name}, ${kind}`, {
        rule: "relative",
      });
    }
  });

  test("of the exact denoiser is the closed form", () => {
    const force = forceOf(denoisers.exact, covariance);
    for (const one of paths)
      close(workAlong(one, force).total, golden.number("li_exact_closed_form"), 1e-9, "log-det formula");
  });

  test("is half of gamma's range in each dimension where nothing is predicted", () => {
    const none = fixedMatrix([
      [0, 0],
      [0, 0],
    ]);
    // eps - epsHat = eps, whatever the data: 1/2 (5 + 13.3) twice.
    for (const one of paths) expect(workAlong(one, forceOf(none, covariance)).total).toBeCloseTo(18.3, 10);
  });

  test("does not depend on the path where each dimension is denoised by itself", () => {
    const force = forceOf(
      fixedMatrix([
        [0.9, 0],
        [0, 0.7],
      ]),
      covariance,
    );
    const [first = Number.NaN, ...others] = paths.map((one) => workAlong(one, force).total);
    for (const other of others) expect(Math.abs(other / first - 1)).toBeLessThan(1e-12);
  });

  test("adds up along the way, from one end to the other", () => {
    const { t, gamma, cost, total } = workAlong(paths[1] as Path, forceOf(denoisers.fixedW, covariance));
    expect([t[0], t.at(-1), cost[0], cost.at(-1)]).toEqual([0, 1, 0, total]);
    for (const [end, at] of [
      [-13.3, gamma[0]],
      [5, gamma.at(-1)],
    ] as const)
      for (const value of at ?? []) expect(value).toBeCloseTo(end, 12);
    expect(cost.every((value, i) => i === 0 || value >= (cost[i - 1] ?? 0))).toBe(true);
  });
});

test("the figure: equal losses on scalar schedules, and on all where the denoiser is a posterior mean", async () => {
  const drawing = await lineIntegral.draw({ request: {} });
  const rows = drawing.rows ?? [];
  const lossOf = (denoiser: string, path: string) =>
    Number(rows.find((row) => row.denoiser === denoiser && row.path === path && row.t === 1)?.nats);
  const names = [...new Set(rows.map((row) => String(row.denoiser)))];
  expect(names).toEqual(["exact", "wrongCovariance", "fixedMatrix", "meanGamma"]);
  const relative = (name: string, path: string) => lossOf(name, path) / lossOf(name, "both linear") - 1;
  for (const name of names) expect(Math.abs(relative(name, "same polynomial"))).toBeLessThan(1e-10);
  for (const path of ["first early", "second early"]) {
    for (const name of ["exact", "wrongCovariance"])
      expect(Math.abs(relative(name, path))).toBeLessThan(1e-10);
    for (const name of ["fixedMatrix", "meanGamma"])
      expect(Math.abs(relative(name, path))).toBeGreaterThan(0.01);
  }
  const svg = drawing.kind === "chart" ? drawing.chart.svg : "";
  expect(svg.match(/The loss does not depend on the path/g)).toHaveLength(2);
  expect(svg.match(/The loss depends on the path/g)).toHaveLength(2);
});

describe("on the command line", () => {
  const analyze = (...argv: string[]) => analyzeCommand().parseAsync(argv, { from: "user" });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  test("it is drawn without a run", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-line-integral-"));
    const written: string[] = [];
    vi.spyOn(process.stdout, "write").mockImplementation((text) => written.push(String(text)) > 0);
    try {
      const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
      await analyze("--figure", "line-integral", "--out", folder, "--times", "9", "--columns", "3");
      expect(said.mock.calls).toEqual([
        ["--columns changed nothing: no figure that was drawn (line-integral) takes it\n"],
      ]);
      const files = ["svg", "png", "csv", "json"].map((kind) => path.join(folder, `line-integral.${kind}`));
      expect(written.join("")).toBe(`${files.join("\n")}\n`);
      for (const file of files) expect(fs.statSync(file).size).toBeGreaterThan(1000);
      const record = JSON.parse(fs.readFileSync(files[3] as string, "utf8"));
      expect(record).toMatchObject({
        figure: "line-integral",
        gammaMin: -13.3,
        provenance: { node: process.versions.node },
      });
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });

  test.each([
    [[], "expected a run folder or a CONFIG.yaml, got none: name one, or draw line-integral"],
    [
      ["--figure", "line-integral,schedule"],
      'expected a run folder or a CONFIG.yaml for figure "schedule", got none: name one, or draw line-integral',
    ],
    [
      ["--figure", "all"],
      'expected a run folder or a CONFIG.yaml for figure "all", got none: name one, or draw line-integral',
    ],
  ])("%j without a run says what is missing, in one line", async (argv, message) => {
    await expect(analyze(...argv)).rejects.toThrow(new UserError(message));
  });
});
