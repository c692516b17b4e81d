/** A run whose weights come from elsewhere, not from a training of its own. */
import type { ImageModel } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { makeFolder, type StoredTensor, writeFileAtomic } from "../io/index.js";
import { fromStored, scope, torchVersion, toStored } from "../torch/index.js";
import { type JsonObject, writeCheckpoint } from "./checkpoint-files.js";
import type { Config } from "./config.js";
import { prepareMachine } from "./experiment.js";
import { Journal } from "./journal.js";
import { stringifyConfig } from "./load-config.js";
import { provenance } from "./provenance.js";
import { createRun, lockRun, type NewRun, type Run, withdrawRun } from "./run-folder.js";

/** Tensors by the names of a system's parameters. */
export type GivenTensors = ReadonlyMap<string, StoredTensor>;

export interface GivenRun {
  readonly config: Config;
  /** Built of the config; its parameters need no values. */
  readonly system: ImageModel;
  readonly weights: GivenTensors;
  /** The moving average. */
  readonly ema: GivenTensors;
  /** Training steps that made them. */
  readonly step: number;
  /** Where they come from, for the journal. */
  readonly origin: JsonObject;
}

/** How many names a message lists. */
const LISTED = 10;

/** `a, b and 5 more` */
export function listed(names: readonly string[]): string {
  const more = names.length - LISTED;
  return more > 0 ? `${names.slice(0, LISTED).join(", ")} and ${more} more` : names.join(", ");
}

/**
 * @throws UserError of one line that names every parameter which is missing, unknown or of another shape; `where` says
 *   whose tensors they are, `remedy` what to do
 */
export function checkParameters(
  system: ImageModel,
  tensors: ReadonlyMap<string, Pick<StoredTensor, "shape">>,
  { where, remedy }: { readonly where: string; readonly remedy: string },
): void {
  const known = new Map(system.namedParameters());
  const missing = [...known.keys()].filter((name) => !tensors.has(name));
  const unknown = [...tensors.keys()].filter((name) => !known.has(name));
  const misshapen = [...known].flatMap(([name, { shape }]) => {
    const given = tensors.get(name)?.shape;
    return given === undefined || given.join() === shape.join()
      ? []
      : [`${name} [${given.join(", ")}] for [${shape.join(", ")}]`];
  });
  const faults = Object.entries({ missing, unknown, misshapen })
    .filter(([, names]) => names.length > 0)
    .map(([fault, names]) => `${fault}: ${listed(names)}`);
  if (faults.length > 0)
    throw new UserError(`expected the parameters of the config in ${where}; ${faults.join("; ")}: ${remedy}`);
}

/**
 * Writes the run: its config, one checkpoint with moments of zero, and a journal that says where it comes from. It
 * samples, evaluates and trains on like any other.
 * @throws UserError where it cannot be written; nothing of it is left then
 */
export function writeGivenRun(to: NewRun, given: GivenRun): Run {
  const { config, system, step, origin } = given;
  const machine = prepareMachine(config);
  const run = createRun(to);
  try {
    const lock = lockRun(run.dir);
    try {
      writeFileAtomic(run.paths.config, stringifyConfig(config));
      writeCheckpoint(run, {
        step,
        tensors: {
          weights: inOrder(system, given.weights),
          ema: inOrder(system, given.ema),
          optimiser: freshOptimiser(system),
        },
        state: { seed: config.train.seed, system: config.system, shape: [...system.shape] },
        keep: config.train.keepCheckpoints,
      });
      makeFolder(run.paths.events);
      const journal = new Journal(run, step);
      const at = { step, seconds: 0, cpuSeconds: 0 };
      journal.record({
        event: "start",
        ...at,
        parameters: system.parameterCount(),
        ...origin,
        provenance: { ...provenance({ libtorch: torchVersion().torch, ...machine }) },
      });
      journal.record({ event: "finish", ...at });
      journal.close();
    } finally {
      lock.release();
    }
  } catch (error) {
    withdrawRun(run);
    throw error;
  }
  return run;
}

/** In the system's order, as float32. */
function* inOrder(system: ImageModel, tensors: GivenTensors): Generator<[string, StoredTensor]> {
  for (const [name] of system.namedParameters()) {
    const tensor = tensors.get(name);
    if (!tensor) throw new Error(`expected "${name}" among the given weights`);
    yield [name, float32(tensor)];
  }
}

function float32(tensor: StoredTensor): StoredTensor {
  return tensor.dtype === "F32" ? tensor : scope(() => toStored(fromStored(tensor).to("float32")));
}

/** Moments of zero, which all are views of the same zeros, and a system's own counters at their start. */
function* freshOptimiser(system: ImageModel): Generator<[string, StoredTensor]> {
  const parameters = [...system.namedParameters()];
  const zeros = new Uint8Array(4 * Math.max(...parameters.map(([, { size }]) => size)));
  for (const moment of ["first", "second"])
    for (const [name, { shape, size }] of parameters)
      yield [`${moment}.${name}`, { dtype: "F32", shape, data: zeros.subarray(0, 4 * size) }];
  for (const [name, tensor] of Object.entries(system.trainState?.() ?? {}))
    yield [`system.${name}`, toStored(tensor)];
}
