/** The images of one set as a model of another set's shape can take them. */
import { createHash } from "node:crypto";
import { UserError } from "../errors.js";
import { resized } from "./resize.js";
import { type ImageShape, type ImageSource, imageBytes, type OnProgress } from "./source.js";

export interface FitOptions {
  /**
   * What is done about the size. `pad` puts black around the images, `resize` crops them to a square and resizes it.
   * By default images that fit inside are padded and others resized.
   */
  readonly fit?: "pad" | "resize" | undefined;
  /** Called while images are resized, which happens once. */
  readonly onProgress?: OnProgress | undefined;
}

/** A source whose images were fitted to a shape. */
export interface FittedSource extends ImageSource {
  /** What was done to them, for example `padded from 28x28 to 32x32, grey repeated to 3 channels`; or `none`. */
  readonly adaptation: string;
}

/**
 * The images of `source` in `shape` `[C, H, W]`. A grey image is repeated to 3 channels; of a colour image the luma of
 * ITU-R BT.601, `0.299 R + 0.587 G + 0.114 B`, is kept, rounded. Padding is even, an odd row or column going below and
 * to the right. Resized images are kept in the cache; the rest is done as images are read. The fingerprint is that of
 * the set at its size, and where more is done to it a hash of that and of `adaptation`.
 *
 * @throws UserError where channels are other than 1 or 3 and differ, where images are too large to pad, and where they
 *   would have to be resized to a shape that is not square
 */
export async function fitted(
  source: ImageSource,
  shape: ImageShape,
  { fit, onProgress }: FitOptions = {},
): Promise<FittedSource> {
  const pads =
    sameSize(source.shape, shape) || (fit ?? (isInside(source.shape, shape) ? "pad" : "resize")) === "pad";
  const inner = pads ? source : await resizedTo(source, shape, onProgress);
  const steps = [padStep(inner, shape), channelStep(inner, shape)].filter((step) => step !== undefined);
  const said = [...(pads ? [] : [resizing(source.shape, shape)]), ...steps.map((step) => step.said)];
  const adaptation = said.join(", ") || "none";
  const image = new Uint8Array(imageBytes(inner.shape));
  const size = imageBytes(shape);
  return {
    ...inner,
    shape,
    adaptation,
    fingerprint: steps.length === 0 ? inner.fingerprint : derivedFingerprint(inner, adaptation),
    read(indices, into) {
      for (let i = 0; i < indices.length; i++) {
        inner.read([indices[i] as number], image);
        into.set(
          steps.reduce<Uint8Array>((pixels, { apply }) => apply(pixels), image),
          i * size,
        );
      }
    },
  };
}

/** One thing done to every image as it is read. */
interface Step {
  readonly said: string;
  readonly apply: (image: Uint8Array) => Uint8Array;
}

/** What is done about the channels of `source`, if anything. */
function channelStep({ name, shape: [from] }: ImageSource, [to]: ImageShape): Step | undefined {
  if (from === to) return undefined;
  if (from === 1 && to === 3) return { said: "grey repeated to 3 channels", apply: repeated };
  if (from === 3 && to === 1) return { said: "colour turned to grey by luma (ITU-R BT.601)", apply: luma };
  throw new UserError(
    `data set "${name}": expected images of ${to} channels, or of 1 or 3 that can be made 3 or 1, got ${from}: ` +
      "choose another data set",
  );
}

function repeated(plane: Uint8Array): Uint8Array {
  const planes = new Uint8Array(3 * plane.length);
  for (let c = 0; c < 3; c++) planes.set(plane, c * plane.length);
  return planes;
}

/** In whole numbers, so that halves are rounded up on every machine and grey stays what it is. */
function luma(planes: Uint8Array): Uint8Array {
  const area = planes.length / 3;
  const channel = (c: number, i: number) => planes[c * area + i] as number;
  return Uint8Array.from({ length: area }, (_, i) =>
    Math.floor((299 * channel(0, i) + 587 * channel(1, i) + 114 * channel(2, i) + 500) / 1000),
  );
}

/** What is done about images of `source` that are smaller than `shape`, if anything. */
function padStep({ name, shape: from }: ImageSource, to: ImageShape): Step | undefined {
  if (sameSize(from, to)) return undefined;
  if (!isInside(from, to))
    throw new UserError(
      `data set "${name}": expected images of at most ${sizeOf(to)} pixels to pad, got ${sizeOf(from)}: ` +
        "resize them instead",
    );
  const [, height, width] = to;
  const [channels, innerHeight, innerWidth] = from;
  const top = Math.floor((height - innerHeight) / 2);
  const left = Math.floor((width - innerWidth) / 2);
  return {
    said: `padded from ${sizeOf(from)} to ${sizeOf(to)}`,
    apply(image) {
      const framed = new Uint8Array(channels * height * width);
      for (let c = 0; c < channels; c++)
        for (let y = 0; y < innerHeight; y++) {
          const row = (c * innerHeight + y) * innerWidth;
          framed.set(image.subarray(row, row + innerWidth), (c * height + top + y) * width + left);
        }
      return framed;
    },
  };
}

async function resizedTo(
  source: ImageSource,
  shape: ImageShape,
  onProgress: OnProgress | undefined,
): Promise<ImageSource> {
  const [, height, width] = shape;
  if (height !== width)
    throw new UserError(
      `data set "${source.name}": expected a square to resize images to, got ${sizeOf(shape)}: ` +
        "choose a data set whose images fit inside",
    );
  return resized(source, { size: height, onProgress });
}

function resizing(from: ImageShape, to: ImageShape): string {
  const [, height, width] = from;
  if (height === width) return `resized from ${sizeOf(from)} to ${sizeOf(to)}`;
  const side = Math.min(height, width);
  return `cropped from ${sizeOf(from)} to ${side}x${side}, resized to ${sizeOf(to)}`;
}

function sameSize(a: ImageShape, b: ImageShape): boolean {
  return a[1] === b[1] && a[2] === b[2];
}

function isInside(inner: ImageShape, outer: ImageShape): boolean {
  return inner[1] <= outer[1] && inner[2] <= outer[2];
}

/** `WxH` */
function sizeOf([, height, width]: ImageShape): string {
  return `${width}x${height}`;
}

function derivedFingerprint({ fingerprint }: ImageSource, adaptation: string): string {
  const hash = createHash("sha256").update(JSON.stringify([fingerprint, adaptation]));
  return hash.digest("hex").slice(0, 16);
}
