/** Latents in npz files: as they were written, and one line for everything else. */
import fs from "node:fs";
import path from "node:path";
import { zipSync } from "fflate";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readLatents, writeLatents } from "../../src/cli/sample-latents.js";
import { UserError } from "../../src/errors.js";
import { temporaryFolder } from "../experiment/tiny.js";

let folder: string;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const sizes = { latentSize: 3, levels: 2 };

/** An npy file of version 1.0 by numpy.org's description of the format, its header not padded. */
function npy(descr: string, shape: readonly number[], data: ArrayBufferView): Uint8Array {
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(", ")},), }\n`;
  const head = [0x93, ...Buffer.from("NUMPY"), 1, 0, header.length & 255, header.length >> 8];
  return Buffer.concat([
    Buffer.from(head),
    Buffer.from(header),
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  ]);
}

function save(name: string, entries: Readonly<Record<string, Uint8Array>>): string {
  const file = path.join(folder, name);
  fs.writeFileSync(file, zipSync({ ...entries }));
  return file;
}

const values = (count: number) => Float32Array.from({ length: count }, (_, i) => i / 4 - 1);

test.each([[[4, 3]], [[1, 3]], [[4, 2, 3]]])("%j comes back as it was written", async (shape) => {
  const file = path.join(folder, "latents.npz");
  const data = values(shape.reduce((product, n) => product * n, 1));
  writeLatents(file, { shape, data });
  expect(await readLatents(file, sizes)).toEqual({ shape, data });
});

test("what NumPy saves is read, whatever is beside it and wherever its data begin", async () => {
  const data = values(6);
  const file = save("numpy.npz", {
    "other.npy": npy("|u1", [1], Uint8Array.of(7)),
    "latents.npy": npy("<f4", [2, 3], data),
  });
  expect(await readLatents(file, sizes)).toEqual({ shape: [2, 3], data });
});

test("data begin at a multiple of 64 bytes", async () => {
  const file = path.join(folder, "aligned.npz");
  writeLatents(file, { shape: [4, 3], data: values(12) });
  const { unzipSync } = await import("fflate");
  const bytes = unzipSync(fs.readFileSync(file))["latents.npy"] as Uint8Array;
  expect((bytes.length - 48) % 64).toBe(0);
  expect(Buffer.from(bytes.subarray(0, bytes.length - 48)).toString("latin1")).toMatch(/, \} *\n$/);
});

const wrongShape = "expected latents [N, 3], or [N, 2, 3] with one for every level, found";
test.each([
  ["two numbers", npy("<f4", [4, 2], values(8)), `${wrongShape} [4, 2]`],
  ["three levels", npy("<f4", [4, 3, 3], values(36)), `${wrongShape} [4, 3, 3]`],
  ["a vector", npy("<f4", [3], values(3)), `${wrongShape} [3]`],
  ["none", npy("<f4", [0, 3], values(0)), `${wrongShape} [0, 3]`],
  [
    "float64",
    npy("<f8", [1, 3], new Float64Array(3)),
    "expected float32 (<f4), found <f8: save latents.astype(np.float32)",
  ],
  ["too few bytes", npy("<f4", [4, 3], values(11)), "expected 48 bytes for 12 numbers, found 44"],
  ["NaN", npy("<f4", [1, 3], Float32Array.of(0, Number.NaN, 1)), "expected finite numbers"],
])("%s are one line", async (_, bytes, message) => {
  const file = save("wrong.npz", { "latents.npy": bytes });
  const failure: unknown = await readLatents(file, sizes).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(UserError);
  const said = (failure as UserError).message;
  expect(said).toContain(message);
  expect(said).toContain(file);
  expect(said).not.toContain("\n");
});

test("an archive without them says what it has, and how they are written", async () => {
  const file = save("samples.npz", { "arr_0.npy": npy("|u1", [1], Uint8Array.of(1)) });
  await expect(readLatents(file, sizes)).rejects.toThrow(
    'expected an array "latents", found arr_0: write it with np.savez(file, latents=...)',
  );
});
