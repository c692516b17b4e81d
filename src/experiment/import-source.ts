/** What a foreign format of weights says of itself. */
import type { StoredTensor } from "../io/index.js";
import type { Config } from "./config.js";

/** Tensors by the names that a file gives them. */
export type ForeignTensors = ReadonlyMap<string, StoredTensor>;

/** The state dicts that a user gives. */
export interface ForeignFiles {
  readonly model: ForeignTensors;
  /** Of a model in two parts whose parts are in files of their own. */
  readonly denoiser?: ForeignTensors | undefined;
  /** What the parameters of the config's system are called, in their order: for tensors without names. */
  readonly parameters: readonly string[];
}

export interface ImportSource {
  readonly name: string;
  /** Whose files they are, in a few words. */
  readonly summary: string;
  /** The training steps that a file's name tells; undefined where it tells none. */
  stepOf(file: string): number | undefined;
  /**
   * The tensors by the names that the config's system gives its parameters; names it does not have are for the caller
   * to find.
   * @throws UserError for a system that the format has no weights of, and for files that are not what it has
   */
  ownNames(files: ForeignFiles, config: Config): Map<string, StoredTensor>;
}
