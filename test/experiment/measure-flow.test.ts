/** The metric `nll` on a flow whose likelihood is known in closed form: what is added up, charged and compared. */
import fs from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Batch, BoundContext, FlowContext } from "../../src/diffusion/system.js";
import { configSchema } from "../../src/experiment/config.js";
import type { FlowSettings } from "../../src/experiment/flow-settings.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { bitsMeasurement } from "../../src/experiment/measure-bits.js";
import { flowMeasurement } from "../../src/experiment/measure-flow.js";
import { measureNow } from "../../src/experiment/metric.js";
import type { Trained } from "../../src/experiment/trained.js";
import { Module } from "../../src/nn/index.js";
import { full, liveTensors, rand, type Tensor, tensor } from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";
import { temporaryFolder, writeTiny } from "./tiny.js";

const [images, D, growth] = [5, 64, 0.3];

let folder: string;
let pixels: Uint8Array;
beforeAll(() => {
  folder = temporaryFolder();
  writeTiny(folder);
  pixels = fs.readFileSync(`${folder}/data/t10k-images-idx3-ubyte`).subarray(16); // 16 bytes of header
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** `dx/dt = a x`: `log p(x) = log N(e^a x; 0, I) + D a`. Its "bound" is 100 nats plus a uniform draw. */
class Linear extends Module {
  readonly shape = [1, 8, 8];
  readonly levels = 256;
  readonly latents: string[] = [];
  readonly gamma0 = tensor([-13.3], { dtype: "float64" }).keep();

  encode(x: Tensor): Tensor {
    return x.to("float32").add(0.5).div(128).sub(1);
  }
  flow({ pixels: x }: Batch, { latent, streams }: FlowContext) {
    this.latents.push(`${latent} ${streams.key("latent")}`);
    const kl = full([x.dim(0)], 7, { dtype: "float64" });
    return { flow: { drift: (y: Tensor) => y.mul(growth) }, gamma0: this.gamma0, kl, klKind: "of the toy" };
  }
  bound({ pixels: x }: Batch, { streams }: BoundContext) {
    const draw = rand([x.dim(0)], streams.generator("noise"), { dtype: "float64" });
    const none = full([x.dim(0)], 0, { dtype: "float64" });
    return { diffusion: draw.add(100), prior: none, reconstruction: none };
  }
}

function trained(system: object): Trained {
  const config = loadConfig(configSchema, {
    text: fs.readFileSync(`${folder}/tiny.yaml`, "utf8"),
    file: "tiny.yaml",
    overrides: ["evaluate.batchSize=2"],
  });
  const machine = { device: "cpu", precision: "float32", threads: 1 };
  return {
    config,
    own: config,
    machine,
    system,
    run: { name: "toy" },
    step: 3,
    ema: true,
    changes: [],
  } as unknown as Trained;
}

interface Result {
  readonly bitsPerDim: { readonly mean: number; readonly standardError: number };
  readonly difference: { readonly mean: number; readonly standardError: number };
  readonly kl: { readonly mean: number; readonly standardError: number };
  readonly evaluations: { readonly mean: number; readonly max: number };
  readonly perImage: { readonly bitsPerDim: readonly number[]; readonly bound: readonly number[] };
}

async function measure(flow: Partial<FlowSettings> = {}, system = new Linear()) {
  const measurement = await flowMeasurement(trained(system), { images, passes: 3, seed: 4, flow });
  const { document, summary } = await measureNow(measurement, {});
  return { result: document as unknown as Result, document, summary, name: measurement.name };
}

/** Of image i in nats: `-log p(x)` at the middle of its bins, where noise of 1e-3 leaves it but for as much. */
function nats(i: number): number {
  const x = [...pixels.subarray(i * D, (i + 1) * D)].map((value) => (value + 0.5) / 128 - 1);
  const squares = x.reduce((sum, value) => sum + (Math.exp(growth) * value) ** 2, 0);
  return squares / 2 + (D / 2) * Math.log(2 * Math.PI) - D * growth;
}

function standardError(values: readonly number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length * (values.length - 1)));
}

/** Nats per number of truncated noise: `1/2 (1 + log 2 pi) - 0.0152209 + log sigma_0`, gamma_0 = -13.3 (MuLAN, 11.3). */
const truncated = (1 + Math.log(2 * Math.PI)) / 2 - 0.0152209 - 6.6500008;

test("each image: -log p and KL less the entropy of the noise; errors over images; the flow of a linear map", async () => {
  const { result, document, summary } = await measure();
  const expected = Array.from({ length: images }, (_, i) => ((nats(i) + 7) / D - truncated) / Math.LN2);
  for (const [i, bits] of result.perImage.bitsPerDim.entries())
    expect(bits).toBeCloseTo(expected[i] as number, 2);
  expect(result.bitsPerDim.standardError).toBeCloseTo(standardError(result.perImage.bitsPerDim), 10);
  expect(result.kl).toEqual({
    mean: expect.closeTo(7 / (D * Math.LN2), 10),
    standardError: expect.closeTo(0, 10),
  });
  // RK45: two evaluations to begin with and six a step.
  expect((result.evaluations.max - 2) % 6).toBe(0);
  expect(result.evaluations.mean).toBeLessThanOrEqual(result.evaluations.max);
  expect(document).toMatchObject({
    ...{ metric: "nll", images, passes: 3, importance: 1, draws: 5, klKind: "of the toy", seed: 4, step: 3 },
    ...{ rtol: 1e-5, atol: 1e-5, latent: "mode", divergence: "rademacher", precision: "float32" },
    data: { dequantisation: "truncated-normal" },
  });
  expect(summary).toMatch(/probability-flow ODE, K = 1/);
});

test("the difference to the bound is that of each image, the bound being what bpd measures with the same seed", async () => {
  const { result, document } = await measure();
  const alone = await measureNow(
    await bitsMeasurement(trained(new Linear()), { images, passes: 3, seed: 4 }),
    {},
  );
  expect(document.bound).toMatchObject({
    bitsPerDim: alone.document.bitsPerDim,
    terms: alone.document.terms,
  });
  const { bitsPerDim, bound } = result.perImage;
  const differences = bitsPerDim.map((bits, i) => bits - (bound[i] as number));
  expect(result.difference.mean).toBeCloseTo(differences.reduce((a, b) => a + b, 0) / images, 10);
  expect(result.difference.standardError).toBeCloseTo(standardError(differences), 10);
});

test("every divergence of a linear map is exact, so that they differ by the error of the solver alone", async () => {
  const rademacher = (await measure()).result.bitsPerDim.mean;
  const exact = (await measure({ divergence: "exact" })).result.bitsPerDim.mean;
  const fresh = (await measure({ divergence: "rademacher-fresh" })).result.bitsPerDim.mean;
  expect(exact).toBeCloseTo(rademacher, 6);
  expect(fresh).toBeCloseTo(rademacher, 6);
  // v^T v / D of Gaussian v: variance 2 / D, so that a / ln 2 bits/dim scatter by a sqrt(2 / D) / ln 2 for each image.
  const gaussian = (await measure({ divergence: "gaussian" })).result.bitsPerDim.mean;
  const deviation = (growth * Math.sqrt(2 / D / images)) / Math.LN2;
  expect(gaussian).not.toBeCloseTo(rademacher, 4);
  expect(Math.abs(gaussian - rademacher)).toBeLessThan(5 * deviation);
});

test("uniform noise costs log2(V / 2) = 7 bits, whatever K where the density is nearly flat in a bin", async () => {
  const expected = Array.from({ length: images }, (_, i) => (nats(i) + 7) / D / Math.LN2 + 7);
  const mean = expected.reduce((a, b) => a + b, 0) / images;
  const { result, document, name } = await measure({ dequantisation: "uniform", importance: 3 });
  expect(result.bitsPerDim.mean).toBeCloseTo(mean, 2);
  expect(document).toMatchObject({ importance: 3, draws: 15, data: { dequantisation: "uniform" } });
  expect(name).toBe("nll-test-00000003-ema-uniform-seed4-5x3");
});

test("all samples of an image share what the flow is conditioned on, and batches do not", async () => {
  const system = new Linear();
  await measure({ importance: 2, latent: "sample" }, system);
  const [, ...asked] = system.latents; // the first is asked only what its divergence is called
  expect(asked).toHaveLength(6);
  expect(asked.slice(0, 3)).toEqual(asked.slice(3));
  expect(new Set(asked).size).toBe(3);
  for (const one of asked) expect(one).toMatch(/^sample /);
});

test("nothing stays alive of a solve", async () => {
  const measurement = await flowMeasurement(trained(new Linear()), { images, passes: 1, seed: 0 });
  const [piece] = measurement.pieces.filter(({ part }) => part === "flow");
  if (!piece) throw new Error("expected a piece");
  await measurement.measure(piece, {});
  collectGarbage();
  const before = liveTensors();
  await measurement.measure(piece, {});
  expect(liveTensors()).toBe(before);
});

test("a system without a probability flow says why", async () => {
  const plain = { noFlow: "its encoder moves the mean" };
  await expect(flowMeasurement(trained(plain), { seed: 0 })).rejects.toThrow(
    "expected a system with a probability flow for nll, got vdm: its encoder moves the mean",
  );
});
