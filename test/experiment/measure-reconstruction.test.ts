/** The metric `reconstruction`: closed forms of its errors, and what it measures, keeps and refuses of runs. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { linearBetas } from "../../src/diffusion/chain/betas.js";
import { GaussianChain } from "../../src/diffusion/chain/gaussian-chain.js";
import { evaluateShard } from "../../src/experiment/evaluate-shard.js";
import type { ReconstructionSettings } from "../../src/experiment/measure-reconstruction.js";
import { type MeasureRequest, measureNow } from "../../src/experiment/metric.js";
import { metricNamed } from "../../src/experiment/metrics.js";
import { type Reconstructing, reconstructionWork } from "../../src/experiment/reconstruction.js";
import { openTrained } from "../../src/experiment/trained.js";
import { doWork } from "../../src/experiment/work.js";
import { DAED } from "../../src/systems/index.js";
import { fromTypedArray, noGrad, randn, Streams, scope, type Tensor } from "../../src/torch/index.js";
import { knownDdgm } from "../analysis/chain-toy.js";
import { ddgm, eps, exactNoise, Weighted } from "../daed/networks.js";
import { idxFile } from "../data/make.js";
import { trainTiny, writeBands } from "./bands.js";
import { temporaryFolder } from "./tiny.js";

/** The mean errors of images of the bytes `pixels`. */
async function errorsOf(
  system: Reconstructing,
  pixels: Uint8Array,
  { at, ...more }: { readonly at: number; readonly batchSize?: number; readonly sampler?: string },
) {
  const size = system.shape.reduce((product, n) => product * n, 1);
  const length = pixels.length / size;
  const work = reconstructionWork({
    ...{ system, length, images: length, passes: 1, batchSize: 16, sampler: "ancestral" },
    ...{ start: system.reconstructionStart(at), streams: new Streams(3), pass: {}, ...more },
    readBatch: (indices) => ({
      pixels: fromTypedArray(
        Uint8Array.from(indices.flatMap((i) => Array.from(pixels.subarray(i * size, (i + 1) * size)))),
        [indices.length, ...system.shape],
      ),
    }),
  });
  return doWork(work);
}

/** E|n| of standard normal n, and the standard error of the mean of `count` draws. */
const meanAbs = Math.sqrt(2 / Math.PI);
const errorOf = (count: number) => Math.sqrt((1 - 2 / Math.PI) / count);

function denoiserOf(beta: number, noise: (x: Tensor, t: Tensor) => Tensor): DAED {
  return new DAED({
    ...{ shape: [1, 16, 16], betas: [beta, 0.2], denoiser: new Weighted(noise) },
    ...{ type: eps("fixed-large"), loss: "simple", sampling: "uniform" },
  }).initialise(new Streams(0), { dtype: "float64" });
}

describe("errors in closed form", () => {
  test("none, of a network that knows the noise, from every state", async () => {
    const system = knownDdgm(linearBetas(5)); // 1 - abar: 0.2, 0.4, 0.58, 0.727, 0.8362
    const grey = new Uint8Array(3 * 4).fill(64);
    for (const [index, at] of [0.1, 0.4, 0.6, 0.7, 0.99].entries()) {
      expect(system.reconstructionStart(at).index).toBe(index);
      const { mae, msSsim } = await errorsOf(system, grey, { at });
      expect(mae.mean).toBeLessThan(1e-12);
      expect(msSsim.mean).toBeCloseTo(1, 12);
    }
  });

  test("sqrt(b / (1 - b)) E|n|, of a denoiser that sees no noise: x_1 / sqrt(1 - b) comes back", async () => {
    const beta = 0.1;
    const { mae } = await errorsOf(
      denoiserOf(beta, (x) => x.mul(0)),
      new Uint8Array(64 * 256),
      { at: beta },
    );
    const scale = Math.sqrt(beta / (1 - beta));
    expect(Math.abs(mae.mean / scale - meanAbs)).toBeLessThan(4 * errorOf(64 * 256));
    // The images' errors are means of 256 draws each.
    expect(mae.standardError / scale / errorOf(64 * 256)).toBeCloseTo(1, 0);
  });

  test("of normal data: the posterior's mean has half the squared error of a draw from the posterior", async () => {
    // Bytes of N(0, s2) pixels; steps of 1/127.5 are fine beside s.
    const s2 = 0.0625;
    const count = 64 * 256;
    const drawn = scope(() =>
      noGrad(() => randn([count], new Streams(1).generator("data"), { dtype: "float64" }).toArray()),
    );
    const pixels = Uint8Array.from(drawn, (n) => Math.round((Math.sqrt(s2) * n + 1) * 127.5));
    const power = pixels.reduce((sum, byte) => sum + (byte / 127.5 - 1) ** 2 / count, 0);

    const chain = new GaussianChain(linearBetas(1000));
    const { tables } = chain;
    const network = new Weighted(exactNoise(tables.alphasCumprod, s2));
    const generator = ddgm({ shape: [1, 16, 16], chain, network, type: eps("fixed-small") });
    const { index, beta } = generator.reconstructionStart(0.1);
    expect(index).toBe(64); // spec of DAED on CIFAR-10: abar_64 = 0.900642
    expect(beta).toBeCloseTo(1 - 0.900642, 6);
    // x_t = m x_0 + noise of variance v, step by step.
    let [m, v] = [Math.sqrt(1 - beta), beta];
    for (let t = index; t >= 0; t--) {
      const abar = tables.alphasCumprod[t] as number;
      const seen = (Math.sqrt(abar) * s2) / (abar * s2 + 1 - abar);
      const a = (tables.posteriorMeanCoef1[t] as number) * seen + (tables.posteriorMeanCoef2[t] as number);
      [m, v] = [a * m, a ** 2 * v + (tables.posteriorVariance[t] as number)];
    }
    const ofDraws = (m - 1) ** 2 * power + v;
    const posterior = (beta: number) => (s2 * beta) / ((1 - beta) * s2 + beta);
    // 2 in the limit of small steps: with fixed-small variances these draw a little too little.
    expect(Math.abs(ofDraws / posterior(beta) / 2 - 1)).toBeLessThan(0.05);

    const within = (mae: number, variance: number) =>
      expect(Math.abs(mae / Math.sqrt(variance) - meanAbs)).toBeLessThan(4 * errorOf(count));
    const draws = await errorsOf(generator, pixels, { at: 0.1 });
    within(draws.mae.mean, ofDraws);
    const denoiser = denoiserOf(beta, exactNoise(Float64Array.of(1 - beta), s2));
    const means = await errorsOf(denoiser, pixels, { at: beta });
    within(means.mae.mean, posterior(beta));
    expect(draws.msSsim.mean).toBeLessThan(means.msSsim.mean);
  });
});

let folder: string;
let data: string;
beforeAll(async () => {
  folder = temporaryFolder();
  data = writeBands(folder);
  await trainTiny(config("ddgm", "schedule: { kind: linear, steps: 5 }"), path.join(folder, "ddgm"));
}, 60_000);
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** A model of 8x8 images: noise of variance 0.2, 0.4, 0.58, 0.727, 0.836 where the chain is linear. */
function config(system: string, model: string): string {
  return `system: ${system}
data: { name: idx, path: ${JSON.stringify(data)} }
model:
  ${model}
  network: { kind: guided-unet, channels: 8, channelMultipliers: [1], residualBlocks: 1, attentionResolutions: [], groups: 8, dropout: 0 }
train: { steps: 1, batchSize: 8, logEvery: 1, checkpointEvery: 1, sampleEvery: 0 }
optimiser: { warmupSteps: 0 }
evaluate: { batchSize: 4 }
precision: float32
threads: 1
`;
}

const opened = (name: string) => openTrained(path.join(folder, name), { weights: "raw", overrides: [] });

function measurement(name: string, settings: ReconstructionSettings, more: Partial<MeasureRequest> = {}) {
  return metricNamed("reconstruction")(opened(name), { seed: 0, reconstruction: settings, ...more });
}

describe("of a run", () => {
  const numbers = (document: Readonly<Record<string, unknown>>) => [document.mae, document.msSsim];

  test("says from where and how images came back, the same in one go and in parts", async () => {
    const planned = await measurement("ddgm", { at: 0.5 }, { images: 9 });
    expect(planned.name).toBe("reconstruction-test-00000001-raw-T5-at0.5-9x1");
    const { document, summary } = await measureNow(planned, {});
    // 0.5 lies between 0.4 and 0.58, nearer to the second.
    expect(document).toMatchObject({
      ...{ metric: "reconstruction", images: 9, at: 0.5, index: 2, sampler: "ancestral", adaptation: "none" },
      ...{ beta: expect.closeTo(1 - 0.8 * 0.75 * 0.7, 12), split: "test", choice: "evenly spread" },
    });
    expect(summary).toMatch(/^\d\.\d{4} \+- 0\.\d{4} mean absolute error/);
    expect(summary).toContain("from noise of variance 0.5800, 3 steps of ancestral");

    const out = path.join(folder, "parts");
    const shard = (index: number) =>
      evaluateShard(planned, { folder: out, shard: { index, of: 2 }, log: () => {} });
    expect((await shard(1)).kind).toBe("incomplete");
    const whole = await shard(2);
    if (whole.kind !== "complete") throw new Error("expected a result");
    expect(numbers(whole.document)).toEqual(numbers(document));
  });

  test("9 of 45 images are every fifth", async () => {
    const places: number[] = [];
    const { system } = opened("ddgm");
    if (!("reconstructionStart" in system)) throw new Error("expected a chain");
    const work = reconstructionWork({
      ...{ system: system as Reconstructing, length: 45, images: 9, passes: 1, batchSize: 4 },
      ...{ start: { index: 0, beta: 0.2 }, sampler: "ddim", streams: new Streams(0), pass: {} },
      readBatch(indices) {
        places.push(...indices);
        return { pixels: fromTypedArray(new Uint8Array(64 * indices.length), [indices.length, 1, 8, 8]) };
      },
    });
    await doWork(work);
    expect(places).toEqual([0, 5, 10, 15, 20, 25, 30, 35, 40]);
  });

  test("on the images of another data set, fitted, which its name and its facts tell", async () => {
    const small = path.join(folder, "small");
    fs.mkdirSync(small);
    fs.writeFileSync(path.join(small, "t10k-images-idx3-ubyte"), idxFile([3, 6, 5], new Array(90).fill(200)));
    const planned = await measurement("ddgm", { data: "idx", dataPath: small, sampler: "ddim" });
    expect(planned.name).toBe("reconstruction-test-00000001-raw-T5-at0.1-ddim-on-idx-3x1");
    const { document, summary } = await measureNow(planned, {});
    const adaptation = "padded from 5x6 to 8x8";
    expect(document).toMatchObject({ images: 3, adaptation, data: { name: "idx", shape: [1, 8, 8] } });
    expect(summary).toContain(`images evenly spread over the split, ${adaptation}`);
    const own = await measureNow(await measurement("ddgm", { sampler: "ddim" }, { images: 3 }), {});
    expect(numbers(own.document)).not.toEqual(numbers(document));
  });

  test("of a denoiser: from its own noise, in one step, and from no other", async () => {
    const schedule = "schedule: { kind: linear-combine, steps: 5, firstBeta: 0.3 }";
    const [denoiser, generator] = ["denoiser", "generator"] as const;
    for (const parts of [denoiser, generator])
      await trainTiny(config("daed", `${schedule}\n  parts: ${parts}`), path.join(folder, parts));
    const { document, summary } = await measureNow(await measurement(denoiser, {}, { images: 4 }), {});
    expect(document).toMatchObject({ at: 0.3, index: 0, beta: 0.3 });
    expect(summary).toContain("from noise of variance 0.3000, 1 step\n");
    await expect(measurement(denoiser, { at: 0.5 })).rejects.toThrow(
      "expected noise of variance 0.3, all that a denoiser without a generator removes, got 0.5",
    );
    await expect(measurement(generator, {})).rejects.toThrow("expected a model with a denoiser");
  });

  test("a system without steps, and what does not go with it, are refused in one line", async () => {
    await trainTiny(
      config("vdm", "").replace(
        / {2}network:.*\n/,
        "  network: { kind: vdm-unet, channels: 32, depth: 1 }\n",
      ),
      path.join(folder, "vdm"),
    );
    await expect(measurement("vdm", {})).rejects.toThrow(
      "expected a system of discrete steps (ddgm, daed) for the metric reconstruction, got vdm",
    );
    await expect(measurement("ddgm", {}, { steps: 3 })).rejects.toThrow("expected no --steps");
    await expect(measurement("ddgm", { dataPath: data })).rejects.toThrow("add --data NAME");
    await expect(measurement("ddgm", { sampler: "ddmi" })).rejects.toThrow('did you mean "ddim"');
    await trainTiny(
      config("ddgm", "condition: class\n  classes: 3\n  schedule: { kind: linear, steps: 5 }"),
      path.join(folder, "classes"),
    );
    await expect(measurement("classes", { data: "mnist" })).rejects.toThrow(
      "expected a model without classes for the images of another data set, mnist, got one of the classes of idx",
    );
  });
});
