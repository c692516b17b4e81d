/** Any image source at another size. */
import { cachedSource } from "./cache.js";
import { decodeImages } from "./decode-images.js";
import { type ImageSource, imageBytes, type OnProgress } from "./source.js";

/** The images of `source`, each cropped at its centre to a square and resized to `size`; itself if it has that size. */
export async function resized(
  source: ImageSource,
  { size, onProgress }: { readonly size: number; readonly onProgress?: OnProgress | undefined },
): Promise<ImageSource> {
  const { name, split, origin, shape, length, labels, classes, fingerprint } = source;
  const [channels, height, width] = shape;
  if (height === size && width === size) return source;
  const identity = { name, split, origin, files: [], settings: { format: "resized", fingerprint, size } };
  return cachedSource(identity, async (pixels) => {
    const stored = async function* () {
      for (let index = 0; index < length; index++) {
        const planes = new Uint8Array(imageBytes(shape));
        source.read([index], planes);
        const raw = { width, height, channels: channels === 1 ? 1 : 3 } as const;
        yield { index, bytes: interleave(planes, channels), raw, place: `${origin}: image ${index}` };
      }
    };
    const resizedShape = await decodeImages(stored(), pixels, { total: length, size, onProgress });
    return { shape: resizedShape, length, ...(labels && { labels }), ...(classes && { classes }) };
  });
}

/** Planes `[C, H, W]` to interleaved channels `[H, W, C]`. */
function interleave(planes: Uint8Array, channels: number): Uint8Array {
  const area = planes.length / channels;
  return Uint8Array.from(
    planes,
    (_, i) => planes[(i % channels) * area + Math.floor(i / channels)] as number,
  );
}
