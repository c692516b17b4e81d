/**
 * Floating-point operations counted in the passes of real systems. Expected numbers: images times what the network says of
 * one, times 1 without gradients, 2 with that of the input, 3 with that of the weights too.
 */
import { describe, expect, test } from "vitest";
import type { CostedNetwork } from "../../src/diffusion/denoiser.js";
import type { DiffusionSystem } from "../../src/diffusion/system.js";
import { configSchema } from "../../src/experiment/config.js";
import { buildSystem } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { CountedPasses } from "../../src/experiment/profile-passes.js";
import { VariationalUnet } from "../../src/networks/variational-unet.js";
import { noGrad, randint, randn, Streams, scope, zeros } from "../../src/torch/index.js";

const IMAGES = 6;
const shape = [1, 8, 8] as const;

interface Built {
  readonly system: DiffusionSystem;
  /** That the config builder names as the one that most of the cost is in. */
  readonly network: CostedNetwork;
  /** Of it, one image forward. */
  readonly flops: number;
}

const denoiser = "{ kind: vdm-unet, channels: 64, depth: 1, attention: none }";
const blocks = "channels: 8, channelMultipliers: [1, 2], residualBlocks: 1, groups: 4, dropout: 0";
const models = {
  vdm: `network: ${denoiser}`,
  diffenc: `network: ${denoiser}, encoding: { kind: trainable }`,
  daed: `network: { kind: guided-unet, ${blocks}, attentionResolutions: [4], heads: 2 }`,
  vcd: `degradation: { kind: black-blur, levels: 3 }, network: { kind: variational-unet, latentSize: 5, attentionLevels: [], ${blocks} }`,
} as const;

function build(kind: keyof typeof models): Built {
  const text = `{ system: ${kind}, data: { name: mnist }, model: { ${models[kind]} } }`;
  const { system, network } = buildSystem(loadConfig(configSchema, { text, overrides: [] }), shape);
  system.initialise(new Streams(0));
  return { system, network, flops: network.flops?.(8, 8) ?? Number.NaN };
}

/** The forward pass of a training step. */
function objective({ system }: Built): void {
  const streams = new Streams(1);
  const pixels = randint(0, 256, [IMAGES, ...shape], streams.generator("data"), { dtype: "uint8" });
  system.objective({ pixels }, { step: 0, streams, pass: {}, averaged: (run) => noGrad(run) });
}

/** What is counted of `run`, which is run once more when counting is over. */
function counted(
  { system }: Built,
  run: () => void,
  gradients: "input-and-weights" | "input" = "input-and-weights",
): number {
  const passes = new CountedPasses(system, gradients);
  scope(run);
  passes.release();
  scope(run);
  return passes.flops;
}

describe("passes", () => {
  test.each(["vdm", "daed", "vcd"] as const)("each image of %s goes through its networks once", (kind) => {
    const built = build(kind);
    const whole = IMAGES * built.flops;
    expect(counted(built, () => objective(built)) / whole).toBeCloseTo(3, 12);
    expect(counted(built, () => noGrad(() => objective(built))) / whole).toBeCloseTo(1, 12);
    expect(counted(built, () => objective(built), "input") / whole).toBeCloseTo(2, 12);
    built.system.dispose();
  });

  test("a variational network without its encoder costs what is left", () => {
    const built = build("vcd");
    const { network } = built;
    if (!(network instanceof VariationalUnet)) throw new Error("expected a variational U-Net");
    const x = zeros([IMAGES, ...shape]);
    const latent = randn([IMAGES, 5], new Streams(2).generator("latents"));
    const times = { t: zeros([IMAGES], { dtype: "float64" }), t2: zeros([IMAGES], { dtype: "float64" }) };
    const found = counted(built, () => noGrad(() => void network.forward(x, times, latent, {})));
    const encoder = network.vae_encoder.cost({ height: 8, width: 8 }).flops;
    expect(encoder).toBeGreaterThan(0);
    expect(found / (IMAGES * (built.flops - encoder))).toBeCloseTo(1, 12);
    built.system.dispose();
  });
});

describe("what is counted", () => {
  const seen = (kind: keyof typeof models) => {
    const built = build(kind);
    const passes = new CountedPasses(built.system, "input");
    passes.release();
    const { networks, uncounted } = passes;
    built.system.dispose();
    return { networks: networks.map(({ name, kind }) => `${name} ${kind}`), uncounted };
  };

  test("every network that knows what it costs, by its place", () => {
    expect(seen("vdm")).toEqual({ networks: ["denoiser VdmUnet"], uncounted: [] });
    expect(seen("daed")).toEqual({
      networks: ["denoiser GuidedUnet", "generator GuidedUnet"],
      uncounted: [],
    });
  });

  test("an encoder that does not know is said to be left out", () => {
    expect(seen("diffenc")).toEqual({ networks: ["denoiser VdmUnet"], uncounted: ["encoding"] });
  });

  test("counting leaves a network as it was", () => {
    const { system, network } = build("vdm");
    const before = Reflect.ownKeys(network);
    new CountedPasses(system, "input").release();
    expect(Reflect.ownKeys(network)).toEqual(before);
    system.dispose();
  });
});
