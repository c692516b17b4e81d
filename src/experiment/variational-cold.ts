/**
 * Weights as the codes of variational cold diffusion and, before it, of inverse heat dissipation save them: one network by its
 * own parameters' names, beside the optimiser and a moving average, which is a list in the order of the parameters.
 */
import { UserError } from "../errors.js";
import type { ImportSource } from "./import-source.js";

export const variationalCold: ImportSource = {
  name: "variational-cold-diffusion",
  summary:
    "checkpoints of VariationalColdDiffusion, keys model_state_dict and ema_state_dict.shadow_params, and of generative-inverse-heat-dissipation, keys model and ema.shadow_params",
  /** The first are named after width, levels and prediction, the second are numbered. */
  stepOf: () => undefined,
  ownNames({ model, denoiser, parameters }, config) {
    if (config.system !== "vcd" && config.system !== "cold")
      throw new UserError(
        `expected a config of system vcd or cold for weights of variational cold diffusion, got ${config.system}`,
      );
    if (denoiser)
      throw new UserError(
        "expected a denoiser's file with a config of system daed only, got it with cold diffusion",
      );
    const tensors = [...model];
    if (tensors.every(([name]) => /^\d+$/.test(name))) {
      if (tensors.length !== parameters.length)
        throw new UserError(
          `expected ${parameters.length} tensors, those of the config's parameters, in a list of them, got ${tensors.length}: set model.network to match`,
        );
      return new Map(tensors.map(([, tensor], i) => [parameters[i] as string, tensor]));
    }
    // DataParallel puts `module.` before every name.
    return new Map(tensors.map(([name, tensor]) => [`network.${name.replace(/^module\./, "")}`, tensor]));
  },
};
