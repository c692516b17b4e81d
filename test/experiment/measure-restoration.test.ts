/** The metric `restoration`: its errors in closed form, and what it measures, keeps and refuses of runs. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { settingsOf } from "../../src/cli/evaluate-settings.js";
import { evaluateShard } from "../../src/experiment/evaluate-shard.js";
import { type MeasureRequest, measureNow } from "../../src/experiment/metric.js";
import { metricNamed } from "../../src/experiment/metrics.js";
import { type RestorationWork, restorationWork } from "../../src/experiment/restoration.js";
import { openTrained } from "../../src/experiment/trained.js";
import { doWork } from "../../src/experiment/work.js";
import { constant, Module, Parameter } from "../../src/nn/index.js";
import { fromTypedArray, liveTensors, Streams, type Tensor, tensor } from "../../src/torch/index.js";
import { coldOf, degradationNamed, LatentStub, vcdOf } from "../cold/stub.js";
import { classifierConfig, diffusionConfig, trainTiny, writeBands } from "./bands.js";
import { temporaryFolder } from "./tiny.js";

/** What it says of images: a formula. */
class Says extends Module {
  readonly weight = new Parameter([1], constant(1));
  readonly #formula: (x: Tensor) => Tensor;

  constructor(formula: (x: Tensor) => Tensor) {
    super();
    this.#formula = formula;
  }

  forward(x: Tensor): Tensor {
    return this.#formula(x).mul(this.weight.value);
  }
}

const levels = 4;
const blur = degradationNamed("blur", levels);
/** An image of the slowest wave along an axis of the 12 x 12 pixels. */
const wave = Float64Array.from(
  { length: 144 },
  (_, i) => 0.5 + 0.25 * Math.cos((Math.PI * (2 * (i % 12) + 1)) / 24),
);
const asBytes = (image: ArrayLike<number>) => Uint8Array.from(image, (value) => Math.round(255 * value));

type Asked = Pick<RestorationWork, "system"> & Partial<RestorationWork>;

/** The mean errors of three copies of an image. */
async function errorsOf(bytes: Uint8Array, asked: Asked) {
  const work = restorationWork({
    ...{ length: 3, images: 3, passes: 1, batchSize: 2, sampler: "ancestral", jump: 1, latentMode: "shared" },
    ...{ streams: new Streams(3), pass: {} },
    readBatch: (indices) => ({
      pixels: fromTypedArray(Uint8Array.from(indices.flatMap(() => [...bytes])), [indices.length, 1, 12, 12]),
    }),
    ...asked,
  });
  return doWork(work);
}

describe("errors in closed form", () => {
  const bytes = asBytes(wave);
  const x0 = Float64Array.from(bytes, (byte) => byte / 255);
  const clean = () => fromTypedArray(x0, [1, 1, 12, 12]);
  /** A model of clean images that is wrong by the same brightness everywhere. */
  const wrongBy = (error: number) =>
    coldOf(new Says((x) => clean().expand(x.shape).add(error)), { degradation: blur, prediction: "x0" });

  test("of blur: what it takes of a wave", async () => {
    const { degraded } = await errorsOf(bytes, { system: wrongBy(0) });
    // The last width is the image's side: the wave keeps exp(-(pi / 12)^2 12^2 / 2); the root of its mean square is 1 / sqrt(2).
    const taken = (0.25 * (1 - Math.exp(-(Math.PI ** 2) / 2))) / Math.SQRT2;
    expect(Math.abs(degraded.rmse.mean - taken)).toBeLessThan(0.5 / 255); // bytes are rounded
    expect(degraded.rmse.standardError).toBeLessThan(1e-12);
  });

  test("none of a model that knows the images", async () => {
    const { sampled, direct } = await errorsOf(bytes, { system: wrongBy(0) });
    for (const { rmse, ssim } of [sampled, direct]) {
      expect(rmse.mean).toBeLessThan(1e-12);
      expect(ssim.mean).toBeCloseTo(1, 12);
    }
  });

  // Specification, check 17: x0 + e everywhere is led to x0 + (I - D_T) e by Algorithm 2, and blur leaves a brightness as it is.
  test("a constant error of the brightness: direct and by Algorithm 1, not by Algorithm 2", async () => {
    const second = await errorsOf(bytes, { system: wrongBy(0.05) });
    const first = await errorsOf(bytes, { system: wrongBy(0.05), sampler: "algorithm-1" });
    expect(second.direct.rmse.mean).toBeCloseTo(0.05, 12);
    expect(second.sampled.rmse.mean).toBeLessThan(1e-12);
    expect(first.sampled.rmse.mean).toBeCloseTo(0.05, 12);
    expect(second.sampled.ssim.mean).toBeGreaterThan(second.direct.ssim.mean);
  });

  test("a model that changes nothing leaves what is degraded", async () => {
    const system = coldOf(new Says((x) => x.mul(0)), { degradation: blur });
    const { degraded, sampled, direct } = await errorsOf(bytes, { system });
    expect(sampled).toEqual(degraded);
    expect(direct).toEqual(degraded);
  });

  test("of black: the image itself, and a similarity of C1 / (v^2 + C1) to a grey one", async () => {
    const system = coldOf(new Says((x) => x.mul(0)), { degradation: degradationNamed("black", levels) });
    const { degraded } = await errorsOf(new Uint8Array(144).fill(51), { system }); // v = 0.2
    expect(degraded.rmse.mean).toBeCloseTo(0.2, 12);
    expect(degraded.ssim.mean).toBeCloseTo(1e-4 / (0.04 + 1e-4), 12);
  });

  test("images are cut to [0, 1]", async () => {
    const { direct } = await errorsOf(bytes, { system: wrongBy(5) });
    const toWhite = Math.sqrt(x0.reduce((sum, value) => sum + (1 - value) ** 2, 0) / 144);
    expect(direct.rmse.mean).toBeCloseTo(toWhite, 12);
  });

  test("latents come from the prior, one for all steps or one for each", async () => {
    // From black every step adds the mean of a latent of 4 normal numbers, of variance 1 / 4, times 0.02.
    const count = 400;
    const spread = async (latentMode: "shared" | "per-step") => {
      const network = new LatentStub({ a: 0, b: 0, c: 0, levels, d: 0, e: 0.02, latentSize: 4 });
      const system = vcdOf(network, { degradation: degradationNamed("black", levels), latentMode });
      const values: number[] = [];
      await errorsOf(new Uint8Array(144), {
        ...{ system, latentMode, length: count, images: count, batchSize: count },
        keep({ sampled }) {
          values.push(...sampled.select(3, 0).select(2, 0).select(1, 0).toArray());
          return {};
        },
      });
      return values.reduce((sum, value) => sum + value ** 2, 0) / count;
    };
    const one = 0.02 ** 2 / 4;
    // The mean of 400 squares of normals is within a factor 1 +- 4 sqrt(2 / 400).
    expect(Math.abs((await spread("shared")) / (levels ** 2 * one) - 1)).toBeLessThan(0.29);
    expect(Math.abs((await spread("per-step")) / (levels * one) - 1)).toBeLessThan(0.29);
  });

  test("nothing stays alive, and an aborted piece frees what it had", async () => {
    const system = wrongBy(0.1);
    await errorsOf(bytes, { system });
    const before = liveTensors();
    await errorsOf(bytes, { system });
    expect(liveTensors()).toBe(before);
    const signal = AbortSignal.abort(new Error("enough"));
    const work = restorationWork({
      ...{ system, length: 1, images: 1, passes: 1, batchSize: 1, sampler: "ancestral", jump: 1 },
      ...{ latentMode: "shared", streams: new Streams(0), pass: {} },
      readBatch: () => ({
        pixels: tensor(new Array(144).fill(0), { dtype: "uint8" }).reshape([1, 1, 12, 12]),
      }),
    });
    const [piece] = work.pieces;
    if (!piece) throw new Error("expected a piece");
    await expect(work.measure(piece, { signal })).rejects.toThrow("enough");
    expect(liveTensors()).toBe(before);
  });
});

let folder: string;
let data: string;
const at = (name: string) => path.join(folder, name);
beforeAll(async () => {
  folder = temporaryFolder();
  data = writeBands(folder);
  await trainTiny(config("cold", "degradation: { kind: blur, levels: 3 }, prediction: x0"), at("blur"));
  await trainTiny(classifierConfig(data), at("classifier"));
}, 60_000);
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function config(system: "cold" | "vcd", model: string): string {
  const kind = system === "cold" ? "cold-unet" : "variational-unet";
  return `system: ${system}
data: { name: idx, path: ${JSON.stringify(data)} }
model:
  { ${model}, network: { kind: ${kind}, channels: 16, channelMultipliers: [1], residualBlocks: 1, attentionLevels: [], groups: 8, dropout: 0 } }
train: { steps: 1, batchSize: 8, logEvery: 1, checkpointEvery: 1, sampleEvery: 0 }
optimiser: { learningRate: 0.01, warmupSteps: 0 }
evaluate: { batchSize: 4 }
precision: float32
threads: 1
`;
}

function measurement(name: string, more: Partial<MeasureRequest> = {}) {
  const opened = openTrained(at(name), { weights: "raw", overrides: [] });
  return metricNamed("restoration")(opened, { seed: 0, ...more });
}

describe("of a run", () => {
  const numbers = ({ degraded, sampled, direct }: Readonly<Record<string, unknown>>) => [
    degraded,
    sampled,
    direct,
  ];

  test("with distances of features, the same in one go and in parts, after which no image is left", async () => {
    const quality = { features: at("classifier") };
    const planned = await measurement("blur", { images: 9, quality });
    expect(planned.name).toMatch(/^restoration-test-00000001-raw-ancestral-9x1-[\da-f]{8}$/);
    const { document, summary } = await measureNow(planned, {});
    const each = {
      rmse: { mean: expect.any(Number), standardError: expect.any(Number) },
      ssim: { mean: expect.any(Number), standardError: expect.any(Number) },
      fid: expect.objectContaining({ label: "FID (convnet idx, 16 features)", value: expect.any(Number) }),
    };
    expect(document).toMatchObject({
      ...{ metric: "restoration", images: 9, sampler: "ancestral", jump: 1, choice: "evenly spread" },
      ...{ degraded: each, sampled: each, direct: each, features: { name: "convnet idx" } },
    });
    expect(summary).toMatch(
      /\n {2}degraded +\d\.\d{4} \+- \d\.\d{4} +-?\d\.\d{4} \+- \d\.\d{4} +\d+\.\d{4} \+- /,
    );
    expect(summary).toContain("sampled: 3 steps of ancestral; direct: the clean image predicted at once");
    expect(summary).not.toContain("leaves nothing");

    const out = at("parts");
    const shard = async (index: number) =>
      evaluateShard(await measurement("blur", { images: 9, quality }), {
        ...{ folder: out, shard: { index, of: 2 }, log: () => {} },
      });
    expect((await shard(1)).kind).toBe("incomplete");
    const whole = await shard(2);
    if (whole.kind !== "complete") throw new Error("expected a result");
    expect(numbers(whole.document)).toEqual(numbers(document));
    expect(fs.readdirSync(path.join(at("blur"), "evaluation"))).toEqual([]);
  });

  test("by another sampler, and without features", async () => {
    const planned = await measurement("blur", { images: 5, quality: { sampler: "algorithm-1" }, passes: 2 });
    expect(planned.name).toBe("restoration-test-00000001-raw-algorithm-1-5x2");
    const { document, summary } = await measureNow(planned, {});
    expect(document.degraded).not.toHaveProperty("fid");
    expect(summary).not.toContain("FID");
    const usual = await measureNow(await measurement("blur", { images: 5 }), {});
    expect(document.direct).toEqual(usual.document.direct);
    expect(document.sampled).not.toEqual(usual.document.sampled);
  });

  test("with latents, from black, says what such numbers are", async () => {
    await trainTiny(config("vcd", "degradation: { kind: black-blur, levels: 3 }, jump: 2"), at("vcd"));
    const { summary, document } = await measureNow(await measurement("vcd", { images: 4 }), {});
    expect(document).toMatchObject({ system: "vcd", jump: 2 });
    expect(summary).toContain("sampled: 2 steps of ancestral");
    expect(summary).toContain("latents drawn from the prior\n");
    expect(summary).toContain("the last level leaves nothing of an image");
  });

  test("other systems, and what does not go with it, are refused in one line", async () => {
    await trainTiny(diffusionConfig(data), at("vdm"));
    await expect(measurement("vdm")).rejects.toThrow(
      "expected a system of cold diffusion (cold, vcd) for the metric restoration, got vdm",
    );
    await expect(measurement("blur", { steps: 3 })).rejects.toThrow("expected no --steps");
    await expect(measurement("blur", { quality: { sampler: "algorithm-3" } })).rejects.toThrow(
      /did you mean "algorithm-[12]"/,
    );
    await expect(measurement("blur", { images: 2, quality: { features: at("classifier") } })).rejects.toThrow(
      "expected at least 5 images for --images, got 2",
    );
  });
});

describe("the options of evaluate", () => {
  const given = { shard: { index: 1, of: 1 }, weights: "ema", seed: 0, set: [] } as const;

  test("sampler and features go with it, the other options of samples do not", () => {
    const options = { ...given, sampler: "algorithm-1", features: "inception" };
    expect(settingsOf(options, ["restoration"]).quality).toEqual({
      sampler: "algorithm-1",
      features: "inception",
    });
    expect(() => settingsOf({ ...options, samples: 10 }, ["restoration"])).toThrow("--samples is for");
    expect(() => settingsOf(options, ["bpd"])).toThrow("--features is for the metrics of samples");
  });
});
