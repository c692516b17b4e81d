/** What of a measurement is not as usual, for the name of its result: one measured otherwise replaces no usual one. */
import { type FloatDtype, resolveDevice, resolvePrecision } from "../torch/index.js";
import type { Config } from "./config.js";

/** How numbers are measured, beside what they are of. */
export interface Manner {
  readonly seed: number;
  readonly precision: FloatDtype;
  readonly batchSize: number;
}

/** The precision that a config asks for on this machine. */
export function precisionOf({ precision, device }: Pick<Config, "precision" | "device">): FloatDtype {
  return resolvePrecision(precision, device === "auto" ? resolveDevice(device) : device);
}

/** As in `["seed5", "float32", "batch2"]`; nothing where all is usual. The usual seed is 0. */
export function unusual(manner: Manner, usual: Omit<Manner, "seed">): readonly string[] {
  const { seed, precision, batchSize } = manner;
  return [
    ...(seed === 0 ? [] : [`seed${seed}`]),
    ...(precision === usual.precision ? [] : [precision]),
    ...(batchSize === usual.batchSize ? [] : [`batch${batchSize}`]),
  ];
}
