/** Systems by name. A new one is a file, its config, and a line here. */
import type { z } from "zod";
import type { ImageModel } from "../diffusion/system.js";
import { classifierModel, createClassifier } from "./classifier-config.js";
import { coldModel, createCold } from "./cold-config.js";
import { createDaed, daedModel } from "./daed-config.js";
import { createDdgm, ddgmModel } from "./ddgm-config.js";
import { createDiffEnc, diffEncModel } from "./diffenc-config.js";
import { createMulan, mulanModel } from "./mulan-config.js";
import type { BuiltSystem, SystemContext } from "./system-context.js";
import { createVcd, vcdModel } from "./vcd-config.js";
import { createVdm, vdmModel } from "./vdm-config.js";

export { ChainDiffusion, type ChainOptions, type ChainPoint, type StepMeasure } from "./chain.js";
export {
  type ChainPass,
  type ChainState,
  ChainWalk,
  type ChainWalkOptions,
  type StepBack,
  type SteppedBack,
} from "./chain-walk.js";
export { type Classification, Classifier, type ClassifierOptions } from "./classifier.js";
export { ColdDiffusion, type ColdOptions } from "./cold.js";
export {
  type ColdPass,
  type ColdState,
  type ColdStepDown,
  ColdWalk,
  type ColdWalkOptions,
  type DrawnLevels,
  type LevelDraw,
} from "./cold-walk.js";
export { type Composition, compositions, DAED, type DaedOptions, type DaedParts, daedParts } from "./daed.js";
export { DDGM, type DdgmOptions } from "./ddgm.js";
export { DiffEnc, type DiffEncEvaluation, type DiffEncOptions } from "./diffenc.js";
export {
  type EvaluationOptions,
  GaussianDiffusion,
  type GaussianDraws,
  type GaussianOptions,
  type GaussianState,
} from "./gaussian.js";
export { HeatDissipation, type HeatOptions } from "./heat.js";
export { type Auxiliary, MuLAN, type MulanDraws, type MulanEvaluation, type MulanOptions } from "./mulan.js";
export { ContextMuLAN, type ContextMulanOptions } from "./mulan-context.js";
export type { BuiltSystem, SystemContext } from "./system-context.js";
export {
  latentDivergence,
  type TeacherOptions,
  VariationalColdDiffusion,
  type VcdDraw,
  type VcdOptions,
} from "./vcd.js";
export { VDM, type VdmEvaluation, type VdmOptions } from "./vdm.js";

/** Every system that a config can name: the schema of its model, and how it is made. */
export const systems = {
  vdm: { model: vdmModel, create: createVdm },
  diffenc: { model: diffEncModel, create: createDiffEnc },
  mulan: { model: mulanModel, create: createMulan },
  ddgm: { model: ddgmModel, create: createDdgm },
  daed: { model: daedModel, create: createDaed },
  cold: { model: coldModel, create: createCold },
  vcd: { model: vcdModel, create: createVcd },
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

/** What else a config can name: models that are trained like systems, and diffuse nothing. */
export const models = {
  classifier: { model: classifierModel, create: createClassifier },
} as const;

export type ModelName = keyof typeof models;

/** Whatever can be trained, by its name with the model that goes with it. */
export type ModelConfig =
  | SystemConfig
  | {
      [K in ModelName]: { readonly system: K; readonly model: z.output<(typeof models)[K]["model"]> };
    }[ModelName];

/** What a config describes, a system or another model, without parameters yet. */
export function createModel(config: ModelConfig, context: SystemContext): BuiltSystem<ImageModel> {
  const { create } = { ...systems, ...models }[config.system];
  return (create as (model: unknown, context: SystemContext) => BuiltSystem<ImageModel>)(
    config.model,
    context,
  );
}
