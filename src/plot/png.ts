/** Batches of images as PNG files. */
import path from "node:path";
import { makeFolder, writeFileAtomic } from "../io/files.js";
import { sharpLibrary } from "./font.js";

/** Images of 8 bits a channel, shape `[count, channels, height, width]`, row-major; channels 1 (grey) or 3 (RGB). */
export interface Pixels {
  readonly data: Uint8Array;
  readonly count: number;
  readonly channels: 1 | 3;
  readonly height: number;
  readonly width: number;
}

/** @throws Error when the bytes do not fill the shape. */
export function checkPixels({ data, count, channels, height, width }: Pixels): void {
  const expected = count * channels * height * width;
  if (data.length !== expected) {
    throw new Error(
      `expected ${expected} bytes for [${count}, ${channels}, ${height}, ${width}], got ${data.length}`,
    );
  }
}

/**
 * The first of batches that all have its shape.
 *
 * @throws Error when there is none, they differ in shape, or the bytes do not fill it
 */
export function checkAlike(batches: readonly Pixels[]): Pixels {
  const shapeOf = ({ count, channels, height, width }: Pixels) =>
    `[${count}, ${channels}, ${height}, ${width}]`;
  const [first] = batches;
  if (!first) throw new Error("expected at least one batch of images");
  for (const batch of batches) {
    checkPixels(batch);
    if (shapeOf(batch) !== shapeOf(first))
      throw new Error(`expected batches of one shape, got ${shapeOf(first)} and ${shapeOf(batch)}`);
  }
  return first;
}

/** Image `index` as `[height, width, channels]`, the order that image formats use. */
function interleave(pixels: Pixels, index: number): Uint8Array {
  const { data, channels, height, width } = pixels;
  const plane = height * width;
  const begin = index * channels * plane;
  const image = new Uint8Array(channels * plane);
  for (let channel = 0; channel < channels; channel++) {
    for (let i = 0; i < plane; i++) image[i * channels + channel] = data[begin + channel * plane + i] ?? 0;
  }
  return image;
}

/**
 * Writes image i of the batch as `<prefix><i>.png`, numbers padded with zeros to one length; the folder is made if
 * need be. Returns the paths.
 *
 * @throws UserError when a file cannot be written.
 */
export async function writePngs(
  folder: string,
  pixels: Pixels,
  options: { readonly prefix?: string } = {},
): Promise<string[]> {
  checkPixels(pixels);
  const { count, channels, height, width } = pixels;
  const sharp = await sharpLibrary();
  makeFolder(folder);
  const digits = String(Math.max(count - 1, 0)).length;
  const files: string[] = [];
  for (let index = 0; index < count; index++) {
    const image = sharp(interleave(pixels, index), { raw: { width, height, channels } });
    const name = `${options.prefix ?? ""}${String(index).padStart(digits, "0")}.png`;
    const file = path.join(folder, name);
    writeFileAtomic(
      file,
      await image
        .toColourspace(channels === 1 ? "b-w" : "srgb")
        .png()
        .toBuffer(),
    );
    files.push(file);
  }
  return files;
}
