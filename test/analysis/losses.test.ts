/** The figure of a training's losses: bounds in bits/dim, and losses that are something else. */
import { expect, test } from "vitest";
import { drawLosses } from "../../src/analysis/losses.js";
import { trainingCurves } from "../../src/analysis/training-curves.js";
import type { MetricsRecord } from "../../src/experiment/journal.js";
import { toyContext } from "./toy.js";

const evaluated: MetricsRecord = {
  ...{ event: "evaluate", step: 20, seconds: 2, split: "test" },
  ...{ bitsPerDim: 4, standardError: 0.1 },
};

function svgOf(drawing: ReturnType<typeof drawLosses>): string {
  if (drawing.kind !== "chart") throw new Error("expected a chart");
  return drawing.chart.svg;
}

test("a bound is drawn in bits/dim, with what was measured on other images in the same panel", () => {
  const train = [10, 20].map(
    (step): MetricsRecord => ({ event: "train", step, seconds: step / 10, bitsPerDim: 50 / step, prior: 1 }),
  );
  const drawing = drawLosses([...train, evaluated], "run");
  expect(drawing.settings).toEqual({ readings: 2, lossUnit: "bits/dim" });
  expect(drawing.rows?.map((row) => row.bitsPerDim)).toEqual([5, 2.5, 4]);
  expect(svgOf(drawing)).toContain("Training bound");
  expect(svgOf(drawing)).not.toContain("Training loss");
});

test("another loss is drawn in its own unit, the measured bound apart from it", async () => {
  const train = [10, 20].map(
    (step): MetricsRecord => ({
      ...{ event: "train", step, seconds: step / 10, learningRate: 1e-3 },
      ...{ loss: 1 / step, lossUnit: "squared error", mse: 1 / step },
    }),
  );
  const drawing = drawLosses([...train, evaluated], "run");
  expect(drawing.settings).toEqual({ readings: 2, lossUnit: "squared error" });
  expect(drawing.rows?.map((row) => row.loss ?? row.bitsPerDim)).toEqual([0.1, 0.05, 4]);
  for (const words of ["Training loss", "squared error", "The bound", "mse"])
    expect(svgOf(drawing)).toContain(words);
  expect(svgOf(drawing)).not.toContain("no values");

  await expect(trainingCurves.draw({ ...toyContext(2), records: train })).rejects.toThrow(
    /expected runs trained on a bound in bits\/dim for figure "training-curves", got .* squared error/,
  );
});
