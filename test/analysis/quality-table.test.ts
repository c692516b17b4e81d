/** The table of what samples are worth, from the documents that an evaluation leaves. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { qualityTable } from "../../src/analysis/quality-table.js";
import { transferCells } from "../../src/analysis/transfer-table.js";
import { markdown } from "../../src/cli/table.js";
import { readQuality } from "../../src/experiment/quality-results.js";
import { openRun } from "../../src/experiment/run-folder.js";
import { temporaryFolder } from "../experiment/tiny.js";

const folder = temporaryFolder();
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** A run of which nothing is left but its config and results. */
function makeRun(name: string, config: string, documents: readonly object[]): string {
  const dir = path.join(folder, name);
  fs.mkdirSync(path.join(dir, "evaluation"), { recursive: true });
  fs.writeFileSync(path.join(dir, "config.yaml"), `${config}\ndata: { name: fashion-mnist }\n`);
  for (const [i, document] of documents.entries())
    fs.writeFileSync(path.join(dir, "evaluation", `${i}.json`), JSON.stringify(document));
  return dir;
}

const score = (metric: string, value: number, floor: number | null) => ({
  label: `${metric} (lenet fashion-mnist, 84 features)`,
  ...{ value, standardError: 0.5, floor },
});

const quality = (scores: object, more: object = {}) => ({
  ...{ metric: "quality", step: 1500, ema: true, samples: 1000, sampler: "ddim", steps: 100, seed: 0 },
  precision: "bfloat16", // of the machine
  features: { name: "lenet fashion-mnist", fingerprint: "f", standing: "other" },
  data: { name: "fashion-mnist", fingerprint: "d", shape: [1, 28, 28] },
  reference: { split: "train", images: 60_000 },
  floor: { split: "test", images: 1000 },
  scores,
  ...more,
});

const ddgm = makeRun(
  "0001-ddgm",
  "system: ddgm\nmodel: { loss: simple, schedule: { kind: linear, steps: 500 } }",
  [
    { metric: "bpd", bitsPerDim: { mean: 3 } },
    quality({ fid: score("FID", 31.234, 4.56) }),
    quality({ precision: score("precision", 0.5, 0.75), recall: score("recall", 0.25, 0.5) }),
    quality({ fid: score("FID", 50, 4.56) }, { step: 750 }),
  ],
);
const daed = makeRun(
  "0002-daed",
  "system: daed\nmodel: { schedule: { kind: linear-combine, steps: 468, firstBeta: 0.1 } }",
  [quality({ fid: score("FID", 40, null) }, { ema: false, floor: null })],
);
const bare = makeRun("0003-bare", "system: ddgm", []);

test("results are read back, those of one setting together, the longest trained first", () => {
  const [newest, older, ...none] = readQuality(openRun(ddgm));
  expect(Object.keys(newest?.scores ?? {})).toEqual(["fid", "precision", "recall"]);
  expect(newest?.scores.precision?.value).toBe(0.5);
  expect(newest?.reference).toMatchObject({ data: "fashion-mnist", split: "train", images: 60_000 });
  expect([newest?.step, older?.step, none]).toEqual([1500, 750, []]);
});

test("a row a result, real images below, and the command for runs without", () => {
  const { cells, lacking, notes } = qualityTable([ddgm, daed, bare]);
  const [header = [], ...rows] = cells;
  const at = (name: string) => rows.map((row) => row[header.indexOf(name)]);
  expect(at("run")).toEqual(["0001-ddgm", "0001-ddgm", "0002-daed", "real test images"]);
  expect(at("model")).toEqual(["DDGM", "DDGM", "DAED 0.1", ""]);
  expect(at("T")).toEqual(["500", "500", "468", ""]);
  expect(at("FID-like")).toEqual(["31.23 ± 0.50", "50.00 ± 0.50", "40.00 ± 0.50", "4.56"]);
  expect(at("precision")).toEqual(["0.500 ± 0.500", "", "", "0.750"]);
  expect(at("features")).toEqual(Array(4).fill("lenet fashion-mnist"));
  expect(at("trained")).toEqual(["1500", "750", "1500, raw weights", ""]);
  expect(header).not.toContain("FID"); // without Inception there is none
  expect(lacking).toEqual([
    {
      run: "0003-bare",
      command: `varidiff evaluate ${bare} --metrics quality --samples 1000 --sampler ddim --steps 100`,
    },
  ]);
  expect(notes[0]).toContain("60000 train images of fashion-mnist");
});

test("FID where all numbers are Inception's; the paper's rows are marked and have no part in the chart", () => {
  const features = { name: "inception", fingerprint: "i", standing: "inception" };
  const dir = makeRun("0004-inception", "system: ddgm", [
    quality({ fid: { ...score("", 12, null), label: "FID" } }, { features, floor: null }),
  ]);
  const { cells, drawing } = qualityTable([dir], { published: "fashion-mnist" });
  expect(cells[0]).toContain("FID");
  expect(cells.map(([source]) => source).filter((source) => source === "paper, table 5")).toHaveLength(10);
  const fifth = cells.find(([source, model]) => source === "paper, table 5" && model === "DAED 0.3") ?? [];
  expect(fifth.slice(1, 9)).toEqual(["DAED 0.3", "simple", "426", "3.78", "18", "24", "0.738", "0.41"]);
  expect(drawing?.rows).toHaveLength(1 + 16);
  const svg = drawing?.kind === "chart" ? drawing.chart.svg : "";
  expect(svg).toContain("0004-inception");
  expect(svg).not.toContain("paper");
});

test("no results at all: nothing to draw, and a row a run of what to do", () => {
  const { cells, drawing, lacking } = qualityTable([bare]);
  expect(cells).toEqual([]);
  expect(drawing).toBeUndefined();
  expect(lacking[0]?.command).toBe(`varidiff evaluate ${bare} --metrics quality`);
});

test("transfer: a row a model, a column a data set, the paper's below", () => {
  const errors = { mae: 0.0912, maeError: 0.001, msSsim: 0.94, msSsimError: 0.002 };
  const rows = ["cifar10", "mnist"].map((data) => ({ run: "dae", trainedOn: "cifar10", data, ...errors }));
  const text = "0.091 ± 0.001 / 0.940 ± 0.002";
  expect(transferCells(rows)).toEqual([
    ["model", "trained on", "cifar10: MAE / MS-SSIM", "mnist: MAE / MS-SSIM"],
    ["dae", "cifar10", text, text],
  ]);
  const [header, own, ...papers] = transferCells(rows, { published: "listed" });
  expect(header?.slice(3)).toEqual(["mnist", "cifar100", "celeba"].map((set) => `${set}: MAE / MS-SSIM`));
  expect(own).toEqual(["dae", "cifar10", text, text, "", ""]);
  expect(papers).toHaveLength(6);
  expect(papers[2]).toEqual([
    ...["paper, table 2: DAED", "cifar10", "0.065 / 0.97", "", "0.074 / 0.97", "0.068 / 0.97"],
  ]);
});

test("markdown: aligned, with a rule below the header, pipes escaped", () => {
  expect(
    markdown([
      ["run", "T"],
      ["a|b", "500"],
    ]),
  ).toBe("| run  | T   |\n| ---- | --- |\n| a\\|b | 500 |");
});
