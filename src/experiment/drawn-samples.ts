/** Samples being drawn for a measurement: a file a batch, so that an interruption loses one batch at most. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { ImageSource } from "../data/index.js";
import { UserError } from "../errors.js";
import { channelsLast, explained, makeFolder, writeFileAtomic, writeNpz } from "../io/index.js";
import type { Measured, Numbers, Piece } from "./work.js";

/** The head of a SHA-256, a whole number below 2^48: what a ledger holds of a file. */
function headOf(bytes: Uint8Array): number {
  return Number.parseInt(createHash("sha256").update(bytes).digest("hex").slice(0, 12), 16);
}

/** The files of one measurement, `<folder>/<batch>.bin`, uint8 `[n, C, H, W]` each. */
export class DrawnSamples {
  readonly #folder: string;
  readonly #shape: readonly [number, number, number];

  constructor(o: { readonly folder: string; readonly shape: readonly [number, number, number] }) {
    this.#folder = o.folder;
    this.#shape = o.shape;
  }

  /** Keeps the images of a piece; returns what its ledger says of them. */
  keep({ batch }: Piece, bytes: Uint8Array): Numbers {
    makeFolder(this.#folder);
    writeFileAtomic(this.#file(batch), bytes);
    return { samples: [headOf(bytes)] };
  }

  /** Whether the images of a piece are there as they were drawn. */
  holds({ batch }: Piece, { samples }: Numbers): boolean {
    const file = this.#file(batch);
    return fs.existsSync(file) && headOf(fs.readFileSync(file)) === samples?.[0];
  }

  /** All images, in memory. @throws UserError where a file is missing or damaged: its piece is drawn again */
  read(measured: readonly Measured[]): Pick<ImageSource, "length" | "shape" | "read"> {
    const size = this.#shape.reduce((product, n) => product * n, 1);
    const parts = measured.map(({ piece, numbers }) => {
      if (!this.holds(piece, numbers))
        throw new UserError(
          `expected the samples of batch ${piece.batch} in ${this.#file(piece.batch)} as they were drawn, found them changed or gone: give the same command again, and they are drawn anew`,
        );
      return explained("read", this.#file(piece.batch), () => fs.readFileSync(this.#file(piece.batch)));
    });
    const all = Buffer.concat(parts);
    return {
      length: all.length / size,
      shape: this.#shape,
      read(indices, into) {
        for (let i = 0; i < indices.length; i++) {
          const start = (indices[i] as number) * size;
          into.set(all.subarray(start, start + size), i * size);
        }
      },
    };
  }

  /** Writes them as an npz with arr_0 `[N, H, W, C]` uint8 to `file`. */
  export(measured: readonly Measured[], file: string): void {
    const { length, read } = this.read(measured);
    const [channels, height, width] = this.#shape;
    const data = new Uint8Array(length * channels * height * width);
    read(
      Array.from({ length }, (_, i) => i),
      data,
    );
    writeNpz(file, { arr_0: channelsLast({ data, count: length, channels, height, width }) });
  }

  /** Removes all of them. */
  remove(): void {
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }

  #file(batch: number): string {
    return path.join(this.#folder, `${String(batch).padStart(6, "0")}.bin`);
  }
}
