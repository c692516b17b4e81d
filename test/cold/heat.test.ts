/** Inverse heat dissipation's bound against golden/vcd/ihdm, and what a bound of bytes must be. */
import { describe, expect, test, vi } from "vitest";
import type { Pass } from "../../src/diffusion/denoiser.js";
import { DegradedImages, HeatBlur, hasBound } from "../../src/diffusion/index.js";
import { isHeat } from "../../src/systems/heat.js";
import { HeatDissipation } from "../../src/systems/index.js";
import { fromTypedArray, noGrad, Streams, scope, stack } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { goldenMetadata } from "./hash-weights.js";
import { coldOf, levelsOf, Stub, walkOptions } from "./stub.js";

const file = new GoldenFile("vcd", "ihdm");
const metadata = goldenMetadata("ihdm");
const levels = Number(metadata.K);
const [sigma, delta] = [Number(metadata.sigma), Number(metadata.delta)];
const [a, b, c] = JSON.parse(metadata.stub as string) as [number, number, number];
const widths = file.numbers("small.blur_schedule");

async function heat(): Promise<HeatDissipation> {
  const degradation = new HeatBlur({
    ...{ levels, firstWidth: widths[1] as number, lastWidth: widths.at(-1) as number, lastReached: "once" },
  });
  const shape = [1, 12, 12] as const;
  const start = new DegradedImages({ degradation, shape });
  const train = file.tensor("elbo.train");
  await start.fit({ count: train.dim(0), batches: () => [train] });
  const options = {
    ...walkOptions({ degradation, start, inputNoise: sigma, stepNoise: delta }),
    ...{ network: new Stub({ a, b, c, levels }), loss: { distance: "l2", reduction: "sum" } as const },
    ...({ lossWeighting: "none", overlookedNoise: 0 } as const),
  };
  if (!isHeat(options)) throw new Error("expected the options of inverse heat dissipation");
  return new HeatDissipation(options).initialise(new Streams(0), { dtype: "float64" });
}

describe("the terms of the bound", async () => {
  const system = await heat();
  const u0 = file.tensor("elbo.test");
  const noise = file.tensor("elbo.noise");
  const all = (level: number) =>
    levelsOf(
      u0
        .flatten(1)
        .select(1, 0)
        .mul(0)
        .add(level - 1),
    ).from;

  test("L_K", () => close(system.priorTerm(u0), file.tensor("elbo.L_K"), 1e-4, "L_K"));

  test("L_0", () =>
    close(system.reconstructionTerm(u0, noise, { pass: {} }).mean(), file.number("elbo.L_0"), 1e-4, "L_0"));

  test("L_{k-1}, k = 2 .. K", () => {
    const terms = Array.from({ length: levels - 1 }, (_, i) =>
      system.stepTerm(u0, all(i + 2), noise, { pass: {} }).mean(),
    );
    close(stack(terms), file.tensor("elbo.L_k").narrow(0, 1, levels - 1), 1e-4, "L_k");
  });
});

describe("the bound of bytes", async () => {
  const system = await heat();
  const bytes = Uint8Array.from({ length: 4 * 144 }, (_, i) => (i * 37) % 256);
  const batch = { pixels: fromTypedArray(bytes, [4, 1, 12, 12]) };
  const draw = (seed: number) =>
    scope(() => noGrad(() => system.bound(batch, { streams: new Streams(seed), pass: {} })));

  test("is computed in float32 whatever the precision of the pass", () => {
    const seen = vi.spyOn(system.network, "forward");
    scope(() =>
      noGrad(() => system.bound(batch, { streams: new Streams(0), pass: { precision: "bfloat16" } })),
    );
    expect(seen.mock.calls.map((call) => (call.at(-1) as Pass).precision)).toEqual(["float32", "float32"]);
    expect(system.boundPrecision).toBe("float32");
    seen.mockRestore();
  });

  test("draws K - 1 times the term of one level, all levels alike", () => {
    // Of many draws the mean of the diffusion term is that of K - 1 times a level's, each level alike.
    const draws = Array.from({ length: 200 }, (_, seed) => draw(seed));
    const values = draws.map(({ diffusion }) => diffusion.mean().item());
    const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
    const error = Math.sqrt(
      values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length / (values.length - 1),
    );
    const u0 = batch.pixels.to("float64").add(0.5).div(256);
    const noise = u0.mul(0);
    const each = Array.from({ length: levels - 1 }, (_, i) => {
      const level = levelsOf(
        u0
          .flatten(1)
          .select(1, 0)
          .mul(0)
          .add(i + 1),
      ).from;
      return system.stepTerm(u0, level, noise, { pass: {} }).mean().item();
    });
    // The noise of u_k adds `((1 + a)^2 + b^2) sigma^2 d / (2 delta^2)` to each, that within the bins next to nothing.
    const ofNoise = (((1 + a) ** 2 + b ** 2) * sigma ** 2 * 144) / (2 * delta ** 2);
    const expected = each.reduce((sum, term) => sum + term + ofNoise, 0);
    expect(Math.abs(mean - expected)).toBeLessThan(4 * error + 1e-3 * expected);
  });

  test("of other steps than the model's levels is refused", () => {
    expect(() => system.bound(batch, { streams: new Streams(1), pass: {}, steps: 7 })).toThrow(
      `expected the bound of all ${levels} levels of degradation, got 7 steps`,
    );
  });
});

test("a model without noise, or without images to start from, has no bound", async () => {
  const degradation = new HeatBlur({ levels });
  expect(hasBound(await heat())).toBe(true);
  expect(hasBound(coldOf(new Stub({ a, b, c, levels }), { degradation, inputNoise: sigma }))).toBe(false);
});
