/** How many images of a batch are computed at a time where memory is short; what comes of them does not depend on it. */
import { buildModel } from "./experiment.js";
import type { Trained } from "./trained.js";

/**
 * What a pass without gradients takes at its peak, of what training keeps for backward. Measured as the growth of the peak
 * resident size with the images: 0.36 to 0.63 (VDM of depth 2 and 8, VWD; samples and bound; both precisions).
 */
const heldOfKept = 2 / 3;

/** The part of the memory that is free which maps may take. */
const partOfFree = 1 / 2;

/**
 * Images whose maps fit in half of the memory that is free, cgroup limits included; undefined where nobody counted them, and
 * of accelerators, which hold more than a usual batch takes.
 */
export function imagesAtOnce(
  { config, system, machine }: Pick<Trained, "config" | "system" | "machine">,
  available = process.availableMemory(),
): number | undefined {
  const [channels = 1, height = 1, width = 1] = system.shape;
  const { network } = buildModel(config, [channels, height, width]);
  const kept = network.activations?.(height, width);
  if (kept === undefined || machine.device !== "cpu") return undefined;
  const bytes = kept * (machine.precision === "float32" ? 4 : 2) * heldOfKept;
  return Math.max(1, Math.floor((available * partOfFree) / bytes));
}
