/** PNG and JPEG files into pixels of one shape, through sharp. */
import type { Sharp, SharpOptions } from "sharp";
import { UserError } from "../errors.js";
import type { PixelFile } from "./cache.js";
import type { ImageShape, OnProgress } from "./source.js";

/** An encoded image and where it goes. */
export interface EncodedImage {
  /** Its position in the set, counted from 0. */
  readonly index: number;
  readonly bytes: Uint8Array;
  /** Where `bytes` are pixels already, `[H, W, C]`: how many. */
  readonly raw?: { readonly width: number; readonly height: number; readonly channels: 1 | 3 };
  /** What an error calls it: its file, or its archive and entry. */
  readonly place: string;
}

export interface DecodeOptions {
  /** Number of images that will come. */
  readonly total: number;
  /** Side of the square that each image is cropped (at its centre) and resized to; without it all must be alike. */
  readonly size?: number | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/** Images of a batch: enough to keep every decoding thread busy, few enough to need little memory. */
const imagesAtOnce = 64;

/**
 * Decodes `images` into `pixels`, `[N, C, H, W]`. C is 1 where every pixel of every image is grey, else 3;
 * transparency is dropped and 16-bit images become 8-bit ones.
 * @throws UserError naming the image that cannot be decoded or, without `size`, differs in size from the first.
 */
export async function decodeImages(
  images: AsyncIterable<EncodedImage>,
  pixels: PixelFile,
  { total, size, onProgress }: DecodeOptions,
): Promise<ImageShape> {
  const decode = await decoder(size);
  let first: { readonly width: number; readonly height: number; readonly place: string } | undefined;
  let allGrey = true;
  let done = 0;
  const finish = async (waiting: readonly Promise<DecodedImage>[]) => {
    for (const { index, place, data, width, height } of await Promise.all(waiting)) {
      first ??= { width, height, place };
      if (width !== first.width || height !== first.height)
        throw new UserError(
          `${place}: expected ${first.width}x${first.height} pixels as in ${first.place}, found ${width}x${height}; ` +
            "give a size (data.size) to crop and resize all images to",
        );
      const planar = toPlanes(data, 3);
      allGrey &&= isGrey(planar);
      pixels.write(planar, index * planar.length);
      done++;
    }
    onProgress?.(done, total);
  };
  let finishing = Promise.resolve();
  let waiting: Promise<DecodedImage>[] = [];
  try {
    for await (const image of images) {
      const decoding = decode(image);
      decoding.catch(() => {}); // Thrown when its batch is finished.
      waiting.push(decoding);
      if (waiting.length < imagesAtOnce) continue;
      await finishing;
      finishing = finish(waiting); // While the next batch is read.
      finishing.catch(() => {}); // Thrown where it is awaited.
      waiting = [];
    }
  } finally {
    await finishing; // Nothing is written after the return, also where reading has failed.
  }
  await finish(waiting);
  if (!first) throw new Error("expected at least one image to decode");
  if (allGrey) keepFirstPlane(pixels, { total, plane: first.width * first.height });
  return [allGrey ? 1 : 3, first.height, first.width];
}

/** Interleaved channels `[H, W, C]` to planes `[C, H, W]`. */
export function toPlanes(interleaved: Uint8Array, channels: number): Uint8Array {
  const area = interleaved.length / channels;
  const planes = new Uint8Array(interleaved.length);
  for (let c = 0; c < channels; c++)
    for (let i = 0; i < area; i++) planes[c * area + i] = interleaved[i * channels + c] as number;
  return planes;
}

interface DecodedImage {
  readonly index: number;
  readonly place: string;
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

async function decoder(size: number | undefined): Promise<(image: EncodedImage) => Promise<DecodedImage>> {
  const { default: sharp } = await import("sharp");
  const options: SharpOptions = { failOn: "warning", sequentialRead: true };
  return async ({ index, bytes, raw, place }) => {
    try {
      const upright = sharp(bytes, raw ? { raw } : options)
        .autoOrient()
        .removeAlpha();
      const wanted = size === undefined ? upright : await cropAndResize(upright, size);
      const { data, info } = await wanted.raw().toBuffer({ resolveWithObject: true });
      return { index, place, data, width: info.width, height: info.height };
    } catch (error) {
      const why = (error as Error).message.trim().split("\n")[0];
      throw new UserError(`${place}: expected a PNG or JPEG image, but it cannot be decoded: ${why}`, {
        cause: error,
      });
    }
  };
}

/** The centre square, resized with the Lanczos-3 kernel (stretched where it shrinks, so that nothing aliases). */
async function cropAndResize(image: Sharp, size: number): Promise<Sharp> {
  const { width, height } = (await image.metadata()).autoOrient;
  const side = Math.min(width, height);
  const left = Math.floor((width - side) / 2);
  const top = Math.floor((height - side) / 2);
  return image
    .extract({ left, top, width: side, height: side })
    .resize(size, size, { kernel: "lanczos3", fastShrinkOnLoad: false });
}

function isGrey(planes: Uint8Array): boolean {
  const area = planes.length / 3;
  for (let i = 0; i < area; i++)
    if (planes[i] !== planes[area + i] || planes[i] !== planes[2 * area + i]) return false;
  return true;
}

function keepFirstPlane(
  pixels: PixelFile,
  { total, plane }: { readonly total: number; readonly plane: number },
): void {
  const buffer = new Uint8Array(plane);
  for (let i = 0; i < total; i++) {
    pixels.read(buffer, 3 * i * plane);
    pixels.write(buffer, i * plane);
  }
  pixels.truncate(total * plane);
}
