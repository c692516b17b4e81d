/** What a network's maps are stored in, and which passes ask for what. */
import { expect, test, vi } from "vitest";
import type { Pass } from "../../src/diffusion/denoiser.js";
import { configSchema } from "../../src/experiment/config.js";
import { buildModel } from "../../src/experiment/experiment.js";
import { inPrecision } from "../../src/networks/precision.js";
import { VDM } from "../../src/systems/index.js";
import { conv2d, noGrad, ones, Streams, scope, zeros } from "../../src/torch/index.js";

test.each([
  [{}, "float32", "float32"],
  [{ precision: "float32", maps: "float32" }, "float32", "float32"],
  [{ precision: "bfloat16" }, "bfloat16", "bfloat16"],
  [{ precision: "bfloat16", maps: "float32" }, "float32", "bfloat16"],
] as const)("%o", (pass: Pass, maps, products) => {
  scope(() => {
    const stem = ones([1, 3, 5, 5]);
    let first: string | undefined;
    const result = inPrecision(pass, stem, (given) => {
      first = given.dtype;
      // 1 + 2^-10 is 1 in bfloat16.
      return conv2d(given.mul(1 + 2 ** -10), ones([2, 3, 1, 1]), zeros([2]));
    });
    expect(first).toBe(maps);
    expect(result.dtype).toBe("float32");
    expect(new Set(result.toArray())).toEqual(new Set([products === "float32" ? 3 + 3 * 2 ** -10 : 3]));
  });
});

test("the bound in continuous time asks for whole maps, and training does not", () => {
  const model = { network: { kind: "vdm-unet", channels: 64, depth: 1, attention: "none", dropout: 0 } };
  const { system } = buildModel(configSchema.parse({ system: "vdm", model }), [1, 4, 4]);
  if (!(system instanceof VDM)) throw new Error("expected a VDM");
  system.initialise(new Streams(1));
  const seen = vi.spyOn(system.denoiser, "forward");
  const batch = { pixels: zeros([2, 1, 4, 4], { dtype: "uint8" }) };
  const pass: Pass = { precision: "bfloat16" };
  const streams = new Streams(2);
  scope(() =>
    noGrad(() => {
      system.bound(batch, { streams, pass });
      system.diffusionAt(batch, ones([2], { dtype: "float64" }).div(2), { streams, pass });
    }),
  );
  scope(() => system.objective(batch, { streams, pass, step: 0, averaged: (run) => run() }));
  expect(seen.mock.calls.map(([, , , given]) => given)).toEqual([
    { precision: "bfloat16", maps: "float32" },
    { precision: "bfloat16", maps: "float32" },
    { precision: "bfloat16" },
  ]);
});
