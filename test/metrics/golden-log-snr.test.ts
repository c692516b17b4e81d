/** The log-SNR of images along a chain against golden/daed/metrics. */
import { expect, test } from "vitest";
import { linearBetas } from "../../src/diffusion/chain/betas.js";
import { logPower, logSnr, logSnrChanges } from "../../src/diffusion/chain/log-snr.js";
import { chainTables } from "../../src/diffusion/chain/tables.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("daed", "metrics");

test("mean and deviation over images, and the change from step to step, of the linear schedule of 500", () => {
  const tables = chainTables(linearBetas(500));
  const images = file.tensor("logsnr/images_uint8").div(127.5).sub(1);
  const { mean, deviation } = logSnr(tables, logPower(images).toArray());
  const absolute = { absolute: 1e-10 };
  close([...mean], file.numbers("logsnr/linear500_mean"), 0, "mean", absolute);
  const deviations = file.numbers("logsnr/linear500_std");
  expect(deviations).toHaveLength(500);
  close(Array(500).fill(deviation), deviations, 0, "deviation", absolute);
  close([...logSnrChanges(tables)], file.numbers("logsnr/linear500_delta"), 0, "changes", absolute);
});
