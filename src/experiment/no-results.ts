/** Why a run has no results of a likelihood metric and never will. */
import { type BoundedLikelihood, hasBound, hasFlow, isDiffusion } from "../diffusion/system.js";
import { newestState } from "./checkpoint-files.js";
import type { Config } from "./config.js";
import { buildModel } from "./experiment.js";
import type { Run } from "./run-folder.js";

/** In words, as its kind says; undefined where the run may yet be measured, or nothing says what its images are. */
export function whyNoResults(
  { run, config }: { readonly run: Run; readonly config: Config },
  metric: string,
): string | undefined {
  const shape = newestState(run)?.shape;
  if (!Array.isArray(shape)) return undefined;
  const [channels, height, width] = shape.map(Number);
  const { system } = buildModel(config, [channels ?? 0, height ?? 0, width ?? 0]);
  const kind = config.system;
  if (!isDiffusion(system)) return `${kind} is no diffusion model`;
  if (metric === "nll")
    return hasFlow(system)
      ? undefined
      : `${kind} has no probability flow${system.noFlow ? `: ${system.noFlow}` : ""}`;
  if (hasBound(system)) return undefined;
  const { noBound } = system as Partial<BoundedLikelihood>;
  return `${kind} has no bound${noBound ? `: ${noBound}` : ""}`;
}
