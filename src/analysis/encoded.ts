/** What the figures of an encoding share: systems that have one, the images shown, the times, and pixels as a CSV. */
import type { ImageSource } from "../data/index.js";
import { type Batch, type EncodedView, hasEncodedView } from "../diffusion/system.js";
import type { Pixels } from "../plot/index.js";
import { full, type Tensor } from "../torch/index.js";
import type { Row } from "./figure.js";

/** The capability of these figures. */
export const encodedSystem = {
  fits: hasEncodedView,
  words: "a system that encodes its data",
};

/** `x_t` of each image at one time, `[B, C, H, W]`. */
export function encodedAt(system: EncodedView, batch: Batch, t: number): Tensor {
  const { pixels } = batch;
  return system.encoded(batch, full([pixels.dim(0)], t, { dtype: "float64", device: pixels.device }));
}

/** `1/K, 2/K, ..., 1` where K times were asked for. */
export function timesUpToOne(asked: number | undefined, usual: readonly number[]): readonly number[] {
  return asked === undefined ? usual : Array.from({ length: asked }, (_, k) => (k + 1) / asked);
}

/**
 * The first image of each class, those of `preferred` before the others, then the second of each, up to `count`; without
 * labels the first images. Each round comes back in the order of its classes.
 */
export function oneOfEachClass(
  source: ImageSource,
  count: number,
  preferred: readonly number[] = [],
): readonly number[] {
  const { labels } = source;
  const wanted = Math.min(count, source.length);
  if (!labels) return Array.from({ length: wanted }, (_, i) => i);
  const ofClass = new Map<number, number[]>();
  for (const [i, label] of labels.entries()) {
    const before = ofClass.get(label);
    if (before) before.push(i);
    else ofClass.set(label, [i]);
  }
  const classes = [...ofClass.keys()].sort((a, b) => a - b);
  const order = [...new Set([...preferred, ...classes])];
  const chosen: number[] = [];
  for (let round = 0; chosen.length < wanted; round++) {
    const next = order.flatMap((label) => ofClass.get(label)?.[round] ?? []).slice(0, wanted - chosen.length);
    chosen.push(...next.sort((a, b) => (labels[a] ?? 0) - (labels[b] ?? 0)));
  }
  return chosen;
}

/** The class of an image by name or number; without labels its index. */
export function nameOf({ labels, classes }: ImageSource, index: number): string {
  const label = labels?.[index];
  if (label === undefined) return `image ${index}`;
  return classes?.[label] ?? `class ${label}`;
}

/** Images as they are stored. */
export function storedPixels(source: ImageSource, indices: readonly number[]): Pixels {
  const [channels, height, width] = source.shape;
  const data = new Uint8Array(indices.length * channels * height * width);
  source.read(indices, data);
  return { data, count: indices.length, channels: channels as 1 | 3, height, width };
}

/** A map `[H, W]` as H lines `row, c0 .. c<W - 1>` behind the facts that hold for all of it. */
export function* pixelRows(facts: Row, values: ArrayLike<number>, width: number): Generator<Row> {
  for (let row = 0; row * width < values.length; row++) {
    const line: Record<string, number | string> = { ...facts, row };
    for (let c = 0; c < width; c++) line[`c${c}`] = values[row * width + c] ?? Number.NaN;
    yield line;
  }
}
