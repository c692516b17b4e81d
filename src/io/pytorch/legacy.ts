/** PyTorch's files before 1.6: five pickles, one after another, and then the storages. */
import fs from "node:fs";
import { UserError } from "../../errors.js";
import { ByteReader, damaged, type FilePart, readPart } from "./byte-reader.js";
import type { PickledFile } from "./pickled-file.js";
import { makers, type StorageReference, storageOfId } from "./torch-objects.js";
import { unpickle } from "./unpickler.js";

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
/** Before each storage stands its number of elements, a little-endian 64-bit integer. */
const LENGTH_BYTES = 8;

/** Magic number, protocol, facts about the machine, the object, the keys of its storages, and the storages. */
export async function readLegacy(file: string, descriptor: number): Promise<PickledFile> {
  const whole: FilePart = { file, descriptor, begin: 0, end: fs.fstatSync(descriptor).size };
  const reader = new ByteReader(whole);
  const plain = () => unpickle(reader, { makers: new Map(), persistent: () => undefined });

  if (plain() !== MAGIC)
    throw new UserError(
      `expected a PyTorch state dict in ${file}, found another pickle: save it with torch.save`,
    );
  const protocol = plain();
  if (protocol !== PROTOCOL) throw damaged(file, `its protocol is ${String(protocol)}, expected ${PROTOCOL}`);
  const machine = plain();
  if (!(machine instanceof Map) || machine.get("little_endian") !== true)
    throw new UserError(`${file}: expected little-endian numbers: save it again on another machine`);

  const references = new Map<string, StorageReference>();
  const object = unpickle(reader, {
    makers,
    persistent(id) {
      const storage = storageOfId(id);
      if (storage) references.set(storage.key, storage);
      return storage;
    },
  });
  const keys = plain();
  const parts = storageParts(whole, reader.position, { keys, references });
  const partOf = (key: string) => parts.get(key);
  return {
    object,
    storageBytes(key) {
      const part = partOf(key);
      return part && part.end - part.begin;
    },
    async readStorage(key) {
      const part = partOf(key);
      if (!part) throw damaged(file, `it has no storage ${JSON.stringify(key)}`);
      return readPart(part);
    },
  };
}

/** Where each storage lies. */
function storageParts(
  { file, descriptor, end: fileEnd }: FilePart,
  first: number,
  {
    keys,
    references,
  }: { readonly keys: unknown; readonly references: ReadonlyMap<string, StorageReference> },
): Map<string, FilePart> {
  if (!Array.isArray(keys)) throw damaged(file, "the keys of its storages are no list");
  const parts = new Map<string, FilePart>();
  let position = first;
  for (const key of keys as unknown[]) {
    const reference = typeof key === "string" ? references.get(key) : undefined;
    const width = reference?.elementBytes;
    if (reference === undefined || width === undefined)
      throw damaged(file, `storage ${JSON.stringify(key) ?? "?"} has ${reference?.type ?? "no tensor"}`);
    if (position + LENGTH_BYTES > fileEnd)
      throw damaged(file, `it ends before storage ${JSON.stringify(reference.key)}`);
    const head = readPart({ file, descriptor, begin: position, end: position + LENGTH_BYTES });
    const length = Buffer.from(head.buffer).readBigInt64LE();
    const begin = position + LENGTH_BYTES;
    if (length < 0n || length * BigInt(width) > BigInt(fileEnd - begin))
      throw damaged(
        file,
        `storage ${JSON.stringify(reference.key)} at byte ${position} has ${length} elements of ${width} bytes, the file ${fileEnd - begin} bytes more`,
      );
    const end = begin + Number(length) * width;
    parts.set(reference.key, { file, descriptor, begin, end });
    position = end;
  }
  return parts;
}
