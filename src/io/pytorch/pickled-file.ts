/** What both formats of PyTorch's files come to: one pickled object, and storages by key. */

export interface PickledFile {
  /** As `unpickle` gives it, with `TensorReference`s. */
  readonly object: unknown;
  /** Length of a storage in bytes; undefined where there is none of that key. */
  storageBytes(key: string): number | undefined;
  /** A storage, in memory of its own. @throws UserError where it is damaged */
  readStorage(key: string): Promise<Uint8Array>;
}
