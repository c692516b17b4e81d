/** Latents of samples as npz files: `latents`, float32 `[N, L]` or `[N, T, L]`. */
import { parseNpyHeader } from "../data/npy.js";
import { readZipEntry, zipEntries } from "../data/zip.js";
import { UserError } from "../errors.js";
import type { Latents } from "../experiment/drawing.js";
import { fileError, writeNpz } from "../io/index.js";

const ARRAY = "latents";
const FLOAT32 = "<f4";

/** How many numbers a latent has, L, and how many there may be of an image, T. */
export interface LatentSizes {
  readonly latentSize: number;
  readonly levels: number;
}

/** Writes them as NumPy does; the same latents give the same bytes. */
export function writeLatents(file: string, latents: Latents): void {
  writeNpz(file, { [ARRAY]: latents });
}

/** @throws UserError for a file that cannot be read, and for latents of another model */
export async function readLatents(file: string, sizes: LatentSizes): Promise<Latents> {
  const bytes = await readArray(file);
  const place = `${file}: array "${ARRAY}"`;
  const { descr, shape, offset } = parseNpyHeader(bytes, place);
  if (descr !== FLOAT32)
    throw new UserError(
      `${place}: expected float32 (${FLOAT32}), found ${descr}: save latents.astype(np.float32)`,
    );
  checkShape(shape, { ...sizes, place });
  const size = shape.reduce((product, n) => product * n, 1);
  if (bytes.length !== offset + 4 * size)
    throw new UserError(
      `${place}: expected ${4 * size} bytes for ${size} numbers, found ${bytes.length - offset}: save it anew`,
    );
  // A copy, since numbers of 4 bytes begin at a multiple of 4.
  const data = new Float32Array(new Uint8Array(bytes.subarray(offset)).buffer);
  if (!data.every(Number.isFinite))
    throw new UserError(`${place}: expected finite numbers, found NaN or infinity: save it anew without`);
  return { shape, data };
}

async function readArray(file: string): Promise<Buffer> {
  const names: string[] = [];
  try {
    for await (const entry of zipEntries(file)) {
      if (entry.name === `${ARRAY}.npy`) return await readZipEntry(entry);
      names.push(entry.name.replace(/\.npy$/, ""));
    }
  } catch (error) {
    throw fileError("read", file, error);
  }
  throw new UserError(
    `${file}: expected an array "${ARRAY}", found ${names.join(", ") || "none"}: write it with np.savez(file, ${ARRAY}=...)`,
  );
}

function checkShape(
  shape: readonly number[],
  { latentSize: L, levels: T, place }: LatentSizes & { readonly place: string },
): void {
  const [count = 0, ...rest] = shape;
  const fits = rest.join() === `${L}` || rest.join() === `${T},${L}`;
  if (count > 0 && fits) return;
  throw new UserError(
    `${place}: expected latents [N, ${L}], or [N, ${T}, ${L}] with one for every level, found [${shape.join(", ")}]`,
  );
}
