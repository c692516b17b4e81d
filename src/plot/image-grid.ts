/** Many images as one picture: samples, reconstructions, strips of a diffusion. */
import { type Bitmap, drawGrid, type Picture, type PictureOptions } from "./picture.js";
import { checkPixels, type Pixels } from "./png.js";

/** How a grid of images is laid out. */
export interface ImageGridOptions extends PictureOptions {
  /** Images a row; default: as many as there are column labels, or what the row labels imply, or a square. */
  readonly columns?: number;
}

function defaultColumns(count: number, { rowLabels, columnLabels }: ImageGridOptions): number {
  if (columnLabels?.length) return columnLabels.length;
  if (rowLabels?.length) return Math.ceil(count / rowLabels.length);
  return Math.max(1, Math.ceil(Math.sqrt(count)));
}

/** Image `index` of a batch in red, green and blue. */
export function bitmapOf({ data, channels, height, width }: Pixels, index: number): Bitmap {
  const plane = height * width;
  const begin = index * channels * plane;
  const step = channels === 1 ? 0 : plane;
  const rgb = new Uint8Array(3 * plane);
  for (let colour = 0; colour < 3; colour++) {
    for (let i = 0; i < plane; i++) rgb[3 * i + colour] = data[begin + colour * step + i] ?? 0;
  }
  return { data: rgb, height, width };
}

/**
 * Draws a batch of images in rows, first image top left. Pixels are enlarged without smoothing, so that what is seen
 * is what the model made.
 *
 * @throws Error when there is no image, or the bytes do not fill the shape.
 */
export async function imagePicture(pixels: Pixels, options: ImageGridOptions = {}): Promise<Picture> {
  checkPixels(pixels);
  const { count, height, width } = pixels;
  if (count < 1) throw new Error("expected at least one image");
  const columns = options.columns ?? defaultColumns(count, options);
  const rows = Array.from({ length: Math.ceil(count / columns) }, (_, row) =>
    Array.from({ length: columns }, (_, column) => row * columns + column).map((index) =>
      index < count ? { bitmap: bitmapOf(pixels, index) } : undefined,
    ),
  );
  return drawGrid({ rows, height, width }, options);
}

/** The PNG of `imagePicture`. */
export async function imageGrid(pixels: Pixels, options: ImageGridOptions = {}): Promise<Uint8Array> {
  return (await imagePicture(pixels, options)).png;
}
