/** Systems by name. A new one is a file, its config, and a line here. */
import type { z } from "zod";
import type { BuiltSystem, SystemContext } from "./system-context.js";
import { createVdm, vdmModel } from "./vdm-config.js";

export type { BuiltSystem, SystemContext } from "./system-context.js";
export { VDM, type VdmDraws, type VdmEvaluation, type VdmOptions } from "./vdm.js";

/** Every system that a config can name: the schema of its model, and how it is made. */
export const systems = {
  vdm: { model: vdmModel, create: createVdm },
} as const;

export type SystemName = keyof typeof systems;

/** The system that a config describes, without parameters yet. */
export function createSystem(
  config: { readonly system: SystemName; readonly model: z.output<(typeof systems)[SystemName]["model"]> },
  context: SystemContext,
): BuiltSystem {
  return systems[config.system].create(config.model, context);
}
