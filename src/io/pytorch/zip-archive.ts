/** PyTorch's files since 1.6: a zip archive of uncompressed records, one of them the pickle. */
import zlib from "node:zlib";
import yauzl, { type Entry, type ZipFile } from "yauzl";
import { UserError } from "../../errors.js";
import { ByteReader, damaged, type FilePart, readPart } from "./byte-reader.js";
import type { PickledFile } from "./pickled-file.js";
import { makers, storageOfId } from "./torch-objects.js";
import { unpickle } from "./unpickler.js";

const STORED = 0;
const hex = (value: number): string => value.toString(16).padStart(8, "0");

/** The records of `<root>/data.pkl`, `<root>/byteorder` and `<root>/data/<key>`. */
export async function readZipArchive(file: string, descriptor: number): Promise<PickledFile> {
  const archive = new Archive(file, descriptor);
  await archive.open();
  const root = archive.root();
  const order = await archive.readText(`${root}byteorder`);
  if (order !== undefined && order.trim() !== "little")
    throw new UserError(
      `${file}: expected little-endian numbers, got ${JSON.stringify(order)}: save it again on another machine`,
    );
  const pickle = await archive.part(`${root}data.pkl`);
  const object = unpickle(new ByteReader(pickle), { makers, persistent: storageOfId });
  const record = (key: string) => `${root}data/${key}`;
  return {
    object,
    storageBytes: (key) => archive.size(record(key)),
    readStorage: (key) => archive.read(record(key)),
  };
}

class Archive {
  readonly #file: string;
  readonly #descriptor: number;
  readonly #entries = new Map<string, Entry>();
  #zip: ZipFile | undefined;

  constructor(file: string, descriptor: number) {
    this.#file = file;
    this.#descriptor = descriptor;
  }

  async open(): Promise<void> {
    await this.#explained(async () => {
      // The descriptor stays its owner's to close.
      this.#zip = await yauzl.fromFdPromise(this.#descriptor, { autoClose: false, lazyEntries: true });
      for await (const entry of this.#zip.eachEntry()) this.#entries.set(entry.fileName, entry);
    });
  }

  /** The one folder that everything lies in, with its slash. */
  root(): string {
    const names = [...this.#entries.keys()];
    const pickle = names.find((name) => /^[^/]+\/data\.pkl$/.test(name));
    if (pickle === undefined)
      throw new UserError(`expected a PyTorch state dict in ${this.#file}, found another zip archive`);
    const root = pickle.slice(0, -"data.pkl".length);
    if (this.#entries.has(`${root}constants.pkl`))
      throw new UserError(
        `expected a PyTorch state dict in ${this.#file}, found a TorchScript module: save its state_dict()`,
      );
    return root;
  }

  size(name: string): number | undefined {
    return this.#entries.get(name)?.uncompressedSize;
  }

  /** Where the bytes of a record lie in the file. */
  async part(name: string): Promise<FilePart> {
    const entry = this.#entries.get(name);
    if (!entry || !this.#zip) throw damaged(this.#file, `it has no record ${JSON.stringify(name)}`);
    if (entry.compressionMethod !== STORED || entry.isEncrypted())
      throw new UserError(
        `${this.#file}: expected record ${JSON.stringify(name)} uncompressed, as PyTorch writes it: save the file with torch.save again`,
      );
    const { fileDataStart: begin } = await this.#explained(
      async () => await (this.#zip as ZipFile).readLocalFileHeaderPromise(entry, { minimal: true }),
    );
    const end = begin + entry.uncompressedSize;
    return { file: this.#file, descriptor: this.#descriptor, begin, end };
  }

  async read(name: string): Promise<Uint8Array> {
    const bytes = readPart(await this.part(name));
    const [expected, found] = [this.#entries.get(name)?.crc32 ?? 0, zlib.crc32(bytes)];
    if (expected !== found)
      throw damaged(
        this.#file,
        `record ${JSON.stringify(name)} has CRC-32 ${hex(found)} where ${hex(expected)} is recorded`,
      );
    return bytes;
  }

  async readText(name: string): Promise<string | undefined> {
    return this.#entries.has(name) ? Buffer.from(await this.read(name)).toString("utf8") : undefined;
  }

  /** An error of the zip library is damage of the file. */
  async #explained<Result>(run: () => Promise<Result>): Promise<Result> {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof Error) || error instanceof UserError || "syscall" in error) throw error;
      throw damaged(this.#file, error.message.replace(/\s+/g, " "), error);
    }
  }
}
