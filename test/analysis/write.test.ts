/** Drawings as files. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { forward } from "../../src/analysis/forward.js";
import { samples } from "../../src/analysis/samples.js";
import { schedule } from "../../src/analysis/schedule.js";
import { writeDrawing } from "../../src/analysis/write.js";
import { toyContext } from "./toy.js";

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-analysis-"));
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

/** The magic number of PNG (ISO/IEC 15948, 5.2). */
const PNG = [137, 80, 78, 71, 13, 10, 26, 10];
const startsAsPng = (file: string) => [...fs.readFileSync(file).subarray(0, 8)].join() === PNG.join();

test("a chart is an SVG, a PNG and a CSV of its numbers", async () => {
  const base = path.join(folder, "new", "schedule");
  const files = await writeDrawing(base, await schedule.draw(toyContext(2, { request: { times: 2 } })));
  expect(files).toEqual([`${base}.svg`, `${base}.png`, `${base}.csv`]);
  expect(fs.readFileSync(`${base}.svg`, "utf8")).toMatch(/^<svg /);
  expect(startsAsPng(`${base}.png`)).toBe(true);
  const [header, ...lines] = fs.readFileSync(`${base}.csv`, "utf8").trimEnd().split("\r\n");
  expect(header).toBe("t,gamma,dGamma,snr,alpha2,sigma2");
  expect(lines.map((line) => Number(line.split(",")[1]))).toEqual([-13.3, expect.closeTo(5, 12)]);
});

test("a picture is a PNG, with a CSV where there are numbers", async () => {
  const strip = path.join(folder, "forward");
  const grid = path.join(folder, "samples");
  expect(await writeDrawing(strip, await forward.draw(toyContext(2)))).toEqual([
    `${strip}.svg`,
    `${strip}.png`,
    `${strip}.csv`,
  ]);
  expect(await writeDrawing(grid, await samples.draw(toyContext(2)))).toEqual([`${grid}.svg`, `${grid}.png`]);
  expect(startsAsPng(`${grid}.png`)).toBe(true);
  expect(fs.readFileSync(`${strip}.csv`, "utf8")).toMatch(/^image,t,mean,standardDeviation\r\n0,0,-0\.49/);
});
