/** Systems by name. A new one is a file, its config, and a line here. */
import type { z } from "zod";
import { createDiffEnc, diffEncModel } from "./diffenc-config.js";
import { createMulan, mulanModel } from "./mulan-config.js";
import type { BuiltSystem, SystemContext } from "./system-context.js";
import { createVdm, vdmModel } from "./vdm-config.js";

export { DiffEnc, type DiffEncEvaluation, type DiffEncOptions } from "./diffenc.js";
export {
  type EvaluationOptions,
  GaussianDiffusion,
  type GaussianDraws,
  type GaussianOptions,
  type GaussianState,
} from "./gaussian.js";
export { type Auxiliary, MuLAN, type MulanDraws, type MulanEvaluation, type MulanOptions } from "./mulan.js";
export { ContextMuLAN, type ContextMulanOptions } from "./mulan-context.js";
export type { BuiltSystem, SystemContext } from "./system-context.js";
export { VDM, type VdmEvaluation, type VdmOptions } from "./vdm.js";

/** Every system that a config can name: the schema of its model, and how it is made. */
export const systems = {
  vdm: { model: vdmModel, create: createVdm },
  diffenc: { model: diffEncModel, create: createDiffEnc },
  mulan: { model: mulanModel, create: createMulan },
} as const;

export type SystemName = keyof typeof systems;

/** A system's name with the model that goes with it. */
export type SystemConfig = {
  [K in SystemName]: { readonly system: K; readonly model: z.output<(typeof systems)[K]["model"]> };
}[SystemName];

/** The system that a config describes, without parameters yet. */
export function createSystem(config: SystemConfig, context: SystemContext): BuiltSystem {
  const create = systems[config.system].create as (model: unknown, context: SystemContext) => BuiltSystem;
  return create(config.model, context);
}
