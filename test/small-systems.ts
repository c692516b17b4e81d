/** One small model of each kind, for what holds of all of them alike. */
import { type DiffusionSystem, isDiffusion } from "../src/diffusion/system.js";
import { configSchema } from "../src/experiment/config.js";
import { buildModel } from "../src/experiment/experiment.js";
import { Streams } from "../src/torch/index.js";
import { disturb } from "./disturb.js";

/** `[C, H, W]` of their images. */
export const smallShape = [1, 4, 4] as const;

const vdmUnet = { kind: "vdm-unet", channels: 64, depth: 1, attention: "none", dropout: 0 };
const layout = { channels: 8, channelMultipliers: [1, 2], residualBlocks: 1, groups: 4, dropout: 0 };
const guided = { kind: "guided-unet", ...layout, attentionResolutions: [], heads: 2 };
const cold = { ...layout, attentionLevels: [] };
const mulan = {
  schedule: { kind: "polynomial", hidden: 16 },
  latent: { kind: "k-hot", size: 6, k: 2 },
  encoder: { kind: "cnn" },
  network: vdmUnet,
};

/** `sampler` is one that draws noise at every step, `steps` a number that it can take. */
const systems = {
  vdm: { system: "vdm", model: { network: vdmUnet }, sampler: "ancestral", steps: 3 },
  mulan: { system: "mulan", model: mulan, sampler: "ancestral", steps: 3 },
  "mulan, guessed context": {
    ...{ system: "mulan", sampler: "ancestral", steps: 3 },
    model: { ...mulan, condition: "x0", steps: 5 },
  },
  ddgm: {
    ...{ system: "ddgm", sampler: "ancestral", steps: 4 },
    model: { schedule: { kind: "linear", steps: 24 }, network: guided },
  },
  daed: {
    ...{ system: "daed", sampler: "ancestral", steps: 24 },
    model: { schedule: { kind: "linear-combine", steps: 24, firstBeta: 0.1 }, network: guided },
  },
  vcd: {
    ...{ system: "vcd", sampler: "ancestral", steps: 3 },
    model: {
      degradation: { kind: "black-blur", levels: 3 },
      network: { kind: "variational-unet", latentSize: 5, ...cold },
    },
  },
  ddpm: {
    ...{ system: "cold", sampler: "ancestral", steps: 3 },
    model: {
      ...{ baseline: "ddpm", degradation: { kind: "noise", levels: 3 } },
      network: { kind: "cold-unet", ...cold },
    },
  },
} as const;

export type SmallName = keyof typeof systems;
export const smallNames = Object.keys(systems) as SmallName[];

/** In float64, so that results differ by what they are made of and not by the order of sums. */
export function smallSystem(name: SmallName): {
  readonly system: DiffusionSystem;
  readonly sampler: string;
  readonly steps: number;
} {
  const { system: kind, model, sampler, steps } = systems[name];
  const { system } = buildModel(configSchema.parse({ system: kind, model }), smallShape);
  if (!isDiffusion(system)) throw new Error(`expected a diffusion model, got ${name}`);
  disturb(system.initialise(new Streams(1), { dtype: "float64" }), 1, 0.2);
  return { system, sampler, steps };
}
