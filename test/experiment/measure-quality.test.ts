/** The metrics of samples: drawn once, kept through interruptions, compared with a reference that is computed once. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { addDataset } from "../../src/data/registry.js";
import { evaluateShard, type ShardOutcome } from "../../src/experiment/evaluate-shard.js";
import { evenlySpread } from "../../src/experiment/image-features.js";
import { measureSamples } from "../../src/experiment/measure-samples.js";
import type { MeasureRequest } from "../../src/experiment/metric.js";
import { metricNamed, metricsNamed } from "../../src/experiment/metrics.js";
import type { Scores } from "../../src/experiment/quality.js";
import { qualityParts } from "../../src/experiment/quality-settings.js";
import { openTrained } from "../../src/experiment/trained.js";
import { classifierConfig, diffusionConfig, trainTiny, writeBands } from "./bands.js";
import { temporaryFolder } from "./tiny.js";

let folder: string;
let run: string;
beforeAll(async () => {
  folder = temporaryFolder();
  const data = writeBands(folder);
  run = path.join(folder, "run");
  await trainTiny(diffusionConfig(data), run);
  await trainTiny(classifierConfig(data), path.join(folder, "classifier"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  vi.stubEnv("XDG_CACHE_HOME", path.join(folder, "cache"));
  vi.stubEnv("VARIDIFF_CACHE", "");
  vi.stubEnv("XDG_CONFIG_HOME", path.join(folder, "config"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  fs.rmSync(path.join(run, "evaluation"), { recursive: true, force: true });
});

const quality = { samples: 20 };

async function evaluate(
  o: Partial<MeasureRequest> & {
    readonly name?: string;
    readonly dir?: string;
    readonly signal?: AbortSignal;
    readonly onProgress?: (done: number) => void;
    readonly said?: string[];
  } = {},
): Promise<Extract<ShardOutcome, { kind: "complete" }>> {
  const { name = "quality", dir = run, signal, onProgress = () => {}, said = [], ...request } = o;
  const trained = openTrained(dir, { weights: "ema", overrides: [] });
  const log = (line: string) => void said.push(line);
  const measurement = await metricNamed(name)(trained, { seed: 3, batchSize: 8, quality, log, ...request });
  const shard = { index: 1, of: 1 };
  const outcome = await evaluateShard(measurement, {
    ...{ folder: trained.run.paths.evaluation, shard, log, onProgress },
    ...(signal ? { signal } : {}),
  });
  if (outcome.kind !== "complete") throw new Error("expected a result");
  return outcome;
}

const scoresOf = ({ document }: { readonly document: Readonly<Record<string, unknown>> }) =>
  document.scores as Scores & Readonly<Record<string, { readonly floor: number | null }>>;
const left = () => fs.readdirSync(path.join(run, "evaluation"));

test("one sampling gives every number, with the network's name, an error and what real images reach", async () => {
  const outcome = await evaluate();
  const scores = scoresOf(outcome);
  expect(Object.keys(scores)).toEqual([
    ...["fid", "sfid", "inceptionScore", "precision", "recall", "prdF8", "prdFEighth"],
  ]);
  // A convnet of 8 channels has 16 features, and 7 of its channels have 2 x 2 positions.
  expect(scores.fid?.label).toBe("FID (convnet idx, 16 features)");
  expect(scores.sfid?.label).toBe("sFID (convnet idx, 28 features)");
  expect(scores.inceptionScore?.label).toBe("Inception score (convnet idx, 3 classes)");
  // The model has seen two batches: real images, even others, must be far nearer to real ones.
  expect(scores.fid?.value).toBeGreaterThan(2 * (scores.fid?.floor ?? 0));
  expect(scores.prdF8?.value).toBeLessThan(scores.prdF8?.floor ?? 0);
  for (const { value, standardError } of Object.values(scores)) {
    expect(Number.isFinite(value)).toBe(true);
    expect(standardError).toBeGreaterThanOrEqual(0);
  }
  const { value = 0, standardError } = scores.precision ?? {};
  expect(standardError).toBeCloseTo(Math.sqrt((value * (1 - value)) / 20), 12);
  expect(outcome.document).toMatchObject({
    ...{ metric: "quality", samples: 20, sampler: "ancestral", steps: 2, seed: 3, step: 2, ema: true },
    reference: { split: "train", images: 60 },
    floor: { split: "test", images: 20 },
    features: { name: "convnet idx", standing: "other" },
    precision: "float32",
  });
  expect(left()).toHaveLength(1);
});

test("interrupted, and with a batch lost from disk, it gives the same numbers", async () => {
  const whole = scoresOf(await evaluate());
  fs.rmSync(path.join(run, "evaluation"), { recursive: true });
  const stop = new AbortController();
  const onProgress = (done: number) => {
    if (done >= 16) stop.abort(new Error("interrupted"));
  };
  await expect(evaluate({ onProgress, signal: stop.signal })).rejects.toThrow("interrupted");
  const [samples = ""] = left().filter((name) => name.endsWith(".samples"));
  const first = path.join(run, "evaluation", samples, "000000.bin");
  expect(fs.statSync(first).size).toBe(8 * 64);
  fs.writeFileSync(first, new Uint8Array(8 * 64));
  const said: string[] = [];
  const again = scoresOf(await evaluate({ said }));
  expect(said).toContain("going on: 1 of 3 batches are done");
  expect(again).toEqual(whole);
});

test("the reference is computed once for a network and its images, and again for another", async () => {
  fs.rmSync(path.join(folder, "cache"), { recursive: true, force: true });
  const asked = async (more: object) => {
    const said: string[] = [];
    const outcome = await evaluate({ name: "fid", said, quality: { ...quality, ...more } });
    return {
      scores: scoresOf(outcome),
      computed: said.filter((line) => line.startsWith("features of")).length,
    };
  };
  const [first, second] = [await asked({}), await asked({})];
  expect(first.computed).toBe(1);
  expect(second).toEqual({ ...first, computed: 0 });
  expect((await asked({ referenceImages: 30 })).computed).toBe(1);
  const other = path.join(folder, "other");
  await trainTiny(classifierConfig(path.join(folder, "data"), { seed: 2 }), other);
  const third = await asked({ features: other });
  expect(third.computed).toBe(1);
  expect(third.scores.fid?.value).not.toBe(first.scores.fid?.value);
  fs.rmSync(other, { recursive: true });
});

test("a single metric is the same number as among all, and kept samples can be read", async () => {
  const all = scoresOf(await evaluate());
  const { document } = await evaluate({
    name: "fid",
    quality: { ...quality, keepSamples: "kept", floor: "none" },
  });
  expect(scoresOf({ document })).toEqual({ fid: { ...all.fid, floor: null } });
  expect(fs.existsSync(String(document.samplesFile))).toBe(true);
  expect([...metricsNamed(["fid", "bpd", "is"]).keys()]).toEqual(["quality", "bpd"]);
});

test("samples of a file have the numbers of the run that drew them", async () => {
  const { document } = await evaluate({ quality: { ...quality, keepSamples: "kept" } });
  const file = path.join(folder, "samples-test.npz");
  fs.copyFileSync(String(document.samplesFile), file);
  vi.stubEnv("VARIDIFF_DATA", "");
  await addDataset("bands", path.join(folder, "data"));
  const request = { parts: qualityParts, quality: {}, seed: 3, roots: [folder] };
  const found = await measureSamples(file, { ...request, data: "bands" });
  expect(scoresOf(found)).toEqual(scoresOf({ document }));
  expect(found.document).toMatchObject({ file, samples: 20, features: document.features });
  await expect(measureSamples(file, { ...request, data: "fashion-mnist" })).rejects.toThrow(
    /expected images of 1 x 28 x 28 as those of fashion-mnist, got 1 x 8 x 8/,
  );
});

test("mistakes are one line", async () => {
  const fails = (more: object, steps?: number) =>
    expect(evaluate({ quality: { ...quality, ...more }, ...(steps === undefined ? {} : { steps }) })).rejects;
  await fails({ samples: 3 }).toThrow("expected at least 5 images for --samples, got 3");
  await fails({ sampler: "dimm" }).toThrow(/expected a sampler, got "dimm".*ddim/);
  await fails({}, 0).toThrow("expected --steps of at least 1 for samples, got 0");
  await fails({ features: path.join(folder, "clasifier") }).toThrow(/does not exist.*classifier/);
  await fails({ features: run }).toThrow(/expected the run of a classifier for --features, got .*, a vdm/);
  await fails({ features: "inception" }).toThrow("varidiff data add inception FILE");
  const alone = path.join(folder, "alone", "run");
  fs.cpSync(run, alone, { recursive: true });
  await expect(evaluate({ dir: alone })).rejects.toThrow(
    /there is no classifier of idx in .*alone.*; train one with varidiff train configs\/features\/idx.yaml, or give --features$/,
  );
});

test("images are spread evenly over a set", () => {
  expect(evenlySpread(10, 4)).toEqual([0, 2, 5, 7]);
  expect(evenlySpread(3, 5)).toEqual([0, 1, 2]);
});
