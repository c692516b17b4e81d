/** State dicts for PyTorch: its zip format, as `torch.save` has written it since 1.6. */
import { type Zippable, zipSync } from "fflate";
import { UserError } from "../../errors.js";
import { writeFileAtomic } from "../files.js";
import type { StoredTensor } from "../safetensors.js";
import { pickleStateDict } from "./pickler.js";

const ROOT = "archive";
/** Of the archive format. */
const VERSION = "3\n";
/** Where the bytes of every record begin, so that they can be mapped into memory. */
const ALIGNMENT = 64;
/** PyTorch's name for the extra field that moves them there: the letters F and B. */
const PADDING_FIELD = 0x4246;
const LOCAL_HEADER_BYTES = 30;
const EXTRA_HEADER_BYTES = 4;
/** Places in a zip archive without extensions have 32 bits. */
const MOST_BYTES = 2 ** 32 - 2 ** 20;

/**
 * Writes `tensors` in their order as an `OrderedDict` of contiguous tensors on the CPU, atomically; what `torch.load`
 * reads with `weights_only=True`. The same content gives the same bytes.
 *
 * @throws UserError when the file cannot be written or would be larger than 4 GiB
 */
export function writeStateDict(file: string, tensors: Iterable<readonly [string, StoredTensor]>): void {
  const named = [...tensors];
  const records: [string, Uint8Array][] = [
    ["data.pkl", pickleStateDict(named)],
    ["byteorder", Buffer.from("little")],
    ...named.map(([, { data }], i): [string, Uint8Array] => [`data/${i}`, data]),
    ["version", Buffer.from(VERSION)],
  ];
  const total = records.reduce((sum, [, { length }]) => sum + length + 4 * ALIGNMENT, 0);
  if (total > MOST_BYTES)
    throw new UserError(`expected at most 4 GiB for ${file}, got ${total} bytes: write safetensors instead`);

  const entries: Zippable = {};
  let position = 0;
  for (const [name, data] of records) {
    const unpadded = position + LOCAL_HEADER_BYTES + `${ROOT}/${name}`.length + EXTRA_HEADER_BYTES;
    const padding = -unpadded & (ALIGNMENT - 1);
    const extra = { [PADDING_FIELD]: Buffer.alloc(padding, "Z") };
    entries[`${ROOT}/${name}`] = [data, { level: 0, mtime: new Date(1980, 0, 1), extra }];
    position = unpadded + padding + data.length;
  }
  writeFileAtomic(file, zipSync(entries));
}
