/** What every data set becomes: images as bytes, read by index. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { UserError } from "../errors.js";

/** Which images of a data set: those to train on, to choose by, or to report. */
export type Split = "train" | "validation" | "test";
/** All splits, in the order in which they are listed. */
export const splits = ["train", "validation", "test"] as const satisfies readonly Split[];

/** `[channels, height, width]` of every image of a set. */
export type ImageShape = readonly [channels: number, height: number, width: number];

/** Called with the number of images done and the number there are. */
export type OnProgress = (done: number, total: number) => void;

/** Images as bytes, `[N, C, H, W]`, read by index. */
export interface ImageSource {
  /** The name that was asked for, for example `fashion-mnist`. */
  readonly name: string;
  readonly split: Split;
  readonly shape: ImageShape;
  /** Number of images, N. */
  readonly length: number;
  /** One class number an image, counted from 0, where the set has them. */
  readonly labels?: Uint8Array | Int32Array;
  /** The name of each class number, where the set has them. */
  readonly classes?: readonly string[];
  /** The file or folder it was read from. */
  readonly origin: string;
  /**
   * The first 16 hexadecimal digits of the SHA-256 of shape, pixels and labels: the same images have the same
   * fingerprint wherever and however they are stored.
   */
  readonly fingerprint: string;
  /**
   * Copies the images of `indices`, `C*H*W` bytes each, one after another into `into`.
   * @throws RangeError where an index is outside `[0, N)` or `into` is too short.
   */
  read(indices: ArrayLike<number>, into: Uint8Array): void;
}

/** What an image source is, apart from its pixels. */
export type SourceDescription = Omit<ImageSource, "read" | "fingerprint">;

/** Bytes of one image of `shape`. */
export function imageBytes(shape: ImageShape): number {
  return shape[0] * shape[1] * shape[2];
}

/** A source whose pixels, `[N, C, H, W]`, are all in memory. */
export function memorySource(description: SourceDescription, pixels: Uint8Array): ImageSource {
  const size = imageBytes(description.shape);
  return {
    ...description,
    fingerprint: fingerprint(description, [pixels]),
    read(indices, into) {
      checkRead(description, indices, into);
      for (let i = 0; i < indices.length; i++) {
        const start = (indices[i] as number) * size;
        into.set(pixels.subarray(start, start + size), i * size);
      }
    },
  };
}

const openFiles = new FinalizationRegistry<number>((descriptor) => fs.closeSync(descriptor));

/** A source that reads its pixels, `[N, C, H, W]`, from `file` at each call. The file stays open while it is used. */
export function fileSource(
  description: SourceDescription,
  { file, fingerprint }: { readonly file: string; readonly fingerprint: string },
): ImageSource {
  const size = imageBytes(description.shape);
  const descriptor = fs.openSync(file, "r");
  const source: ImageSource = {
    ...description,
    fingerprint,
    read(indices, into) {
      checkRead(description, indices, into);
      for (let i = 0; i < indices.length; i++) {
        const index = indices[i] as number;
        const got = fs.readSync(descriptor, into, i * size, size, index * size);
        if (got < size)
          throw new UserError(
            `${file}: expected ${description.length} images, but image ${index} is cut short at byte ` +
              `${index * size + got}; delete the file and run again to decode ${description.origin} anew`,
          );
      }
    },
  };
  openFiles.register(source, descriptor);
  return source;
}

/** SHA-256 over shape, length, pixels and labels: 16 hexadecimal digits. */
export function fingerprint(
  { shape, length, labels }: Pick<SourceDescription, "shape" | "length" | "labels">,
  pixels: Iterable<Uint8Array>,
): string {
  const hash = createHash("sha256").update(JSON.stringify([length, ...shape]));
  for (const chunk of pixels) hash.update(chunk);
  if (labels) hash.update(new Uint8Array(Int32Array.from(labels).buffer));
  return hash.digest("hex").slice(0, 16);
}

function checkRead(source: SourceDescription, indices: ArrayLike<number>, into: Uint8Array): void {
  const needed = indices.length * imageBytes(source.shape);
  if (into.length < needed)
    throw new RangeError(
      `${source.name}: ${indices.length} images need ${needed} bytes, got room for ${into.length}`,
    );
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i] as number;
    if (!(Number.isInteger(index) && index >= 0 && index < source.length))
      throw new RangeError(`${source.name}: image ${index} is outside 0 to ${source.length - 1}`);
  }
}
