/** Memory that is used up, as libtorch tells of it, in one line. */
import { UserError } from "../errors.js";

/** What the allocators of libtorch say, and how much they were asked for: c10/core/impl/alloc_cpu.cpp, CUDACachingAllocator.cpp. */
const complaints: readonly { readonly of: string; readonly said: RegExp }[] = [
  { of: "memory", said: /can't allocate memory: you tried to allocate (\d+) bytes/ },
  { of: "memory of the GPU", said: /CUDA out of memory\.(?: Tried to allocate ([\d.]+ \w+))?/ },
];

const GiB = 2 ** 30;

/** The mistake behind `error` where memory was used up, else undefined. */
export function outOfMemory(error: unknown): UserError | undefined {
  if (!(error instanceof Error)) return undefined;
  for (const { of, said } of complaints) {
    const [found, asked] = said.exec(error.message) ?? [];
    if (found === undefined) continue;
    const amount = asked === undefined ? "" : `: an operator asked for ${inWords(asked)} more`;
    return new UserError(
      `out of ${of}${amount}; take a smaller network or fewer images at a time ` +
        "(train.batchSize, evaluate --batch-size, sample -n), or train with train.recompute=levels",
      { cause: error },
    );
  }
  return undefined;
}

/** Bytes as GiB; what has a unit stays. */
function inWords(asked: string): string {
  const bytes = Number(asked);
  return Number.isNaN(bytes) ? asked : `${Number((bytes / GiB).toPrecision(3)).toLocaleString("en")} GiB`;
}
