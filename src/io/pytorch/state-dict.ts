/** Named tensors out of PyTorch's files and safetensors. */
import fs from "node:fs";
import { UserError } from "../../errors.js";
import { fileError } from "../files.js";
import { readSafetensors, type StoredTensor } from "../safetensors.js";
import { damaged, readPart } from "./byte-reader.js";
import { chooseStateDict } from "./choose-state-dict.js";
import { elementsOf, isContiguous, reachOf, sizeOf } from "./contiguous.js";
import { readLegacy } from "./legacy.js";
import type { PickledFile } from "./pickled-file.js";
import { type StorageReference, TensorReference } from "./torch-objects.js";
import { readZipArchive } from "./zip-archive.js";

/** Tensors that are views of larger storages are copied, all together at most so many times the file's size. */
const MOST_COPIES = 8;

export interface StateDict {
  /** In the file's order, contiguous. Tensors that share a storage may share memory: they are for reading. */
  readonly tensors: Map<string, StoredTensor>;
  /** Names of entries that are no tensors; they were left. */
  readonly others: readonly string[];
}

export interface StateDictOptions {
  /** Where in a checkpoint the state dict is: `state_dict`, or `model.ema` for one in a dictionary of a dictionary. */
  readonly key?: string | undefined;
}

/**
 * The tensors of a `.pt`/`.pth` file of any PyTorch since 0.4 (zip or legacy format) or of a safetensors file. Nothing
 * in the file is run: what is no tensor, number, text, list or dictionary is left as a record of its name.
 *
 * @throws UserError naming file and place where it is damaged, and the keys that hold a state dict where the file is a
 *   checkpoint with several things in it
 */
export async function readStateDict(file: string, options: StateDictOptions = {}): Promise<StateDict> {
  let descriptor: number;
  try {
    descriptor = fs.openSync(file, "r");
  } catch (error) {
    throw fileError("read", file, error);
  }
  try {
    const { size } = fs.fstatSync(descriptor);
    const head = readPart({ file, descriptor, begin: 0, end: Math.min(9, size) });
    const format = formatOf(head);
    if (format === "safetensors") return fromSafetensors(file, options);
    if (format === undefined)
      throw new UserError(
        `expected a state dict of PyTorch (.pt, .pth) or safetensors, found another kind of file in ${file}`,
      );
    const pickled = await (format === "zip" ? readZipArchive : readLegacy)(file, descriptor);
    const chosen = chooseStateDict(file, pickled.object, options.key);
    return await new Extraction(file, { pickled, size }).tensorsOf(chosen);
  } catch (error) {
    throw fileError("read", file, error);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** By the first bytes: a zip's local header, a pickle's protocol, or a JSON object after a length of 8 bytes. */
function formatOf(head: Uint8Array): "zip" | "legacy" | "safetensors" | undefined {
  if (Buffer.from(head.subarray(0, 4)).equals(Buffer.from("PK\x03\x04", "latin1"))) return "zip";
  if (head[0] === 0x80) return "legacy";
  return head[8] === "{".charCodeAt(0) ? "safetensors" : undefined;
}

function fromSafetensors(file: string, { key }: StateDictOptions): StateDict {
  if (key !== undefined)
    throw new UserError(`expected no key for ${file}: a safetensors file holds one state dict`);
  return { tensors: readSafetensors(file).tensors, others: [] };
}

/** Reads each storage once, when its first tensor asks for it. */
class Extraction {
  readonly #file: string;
  readonly #pickled: PickledFile;
  readonly #size: number;
  readonly #storages = new Map<string, Uint8Array>();
  #read = 0;
  #copied = 0;

  constructor(file: string, o: { readonly pickled: PickledFile; readonly size: number }) {
    this.#file = file;
    this.#pickled = o.pickled;
    this.#size = o.size;
  }

  async tensorsOf(entries: ReadonlyMap<string, unknown>): Promise<StateDict> {
    const tensors = new Map<string, StoredTensor>();
    const others: string[] = [];
    for (const [name, value] of entries)
      if (value instanceof TensorReference) tensors.set(name, await this.#tensor(name, value));
      else others.push(name);
    return { tensors, others };
  }

  async #tensor(name: string, { storage, layout }: TensorReference): Promise<StoredTensor> {
    const tensor = `tensor ${JSON.stringify(name)}`;
    const { dtype, elementBytes: width } = storage;
    if (dtype === undefined || width === undefined)
      throw new UserError(`${this.#file}: ${tensor} has elements of ${storage.type}: convert it first`);
    const { shape } = layout;
    const [reach, bytes] = [reachOf(layout), sizeOf(shape) * width];
    if (reach > storage.length)
      throw damaged(
        this.#file,
        `${tensor} needs ${reach} elements of storage ${JSON.stringify(storage.key)}, which has ${storage.length}`,
      );
    const whole = await this.#storage(tensor, storage, width);
    if (bytes === whole.buffer.byteLength && isContiguous(layout)) return { dtype, shape, data: whole };
    this.#copied += bytes;
    if (!(this.#copied <= MOST_COPIES * this.#size))
      throw damaged(
        this.#file,
        `${tensor} [${shape.join(", ")}] and those before it are views of over ${MOST_COPIES} times the file`,
      );
    return { dtype, shape, data: elementsOf(whole, layout, width as 1 | 2 | 4 | 8) };
  }

  /** The bytes of a storage, and no more of it than its reference spans. */
  async #storage(tensor: string, storage: StorageReference, width: number): Promise<Uint8Array> {
    const { key, first, length } = storage;
    const there = this.#pickled.storageBytes(key);
    const needed = (first + length) * width;
    if (there === undefined)
      throw damaged(this.#file, `${tensor} lies in storage ${JSON.stringify(key)}, which is missing`);
    if (there < needed)
      throw damaged(
        this.#file,
        `${tensor} lies in storage ${JSON.stringify(key)} of ${there} bytes, expected ${needed}`,
      );
    let bytes = this.#storages.get(key);
    if (!bytes) {
      this.#read += there;
      if (this.#read > this.#size) throw damaged(this.#file, "its storages overlap");
      bytes = await this.#pickled.readStorage(key);
      this.#storages.set(key, bytes);
    }
    return needed === bytes.length && first === 0 ? bytes : bytes.subarray(first * width, needed);
  }
}
