/** Features of images of a source, and of a reference set, whose statistics are kept for the next time. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { cacheFolder, type ImageSource } from "../data/index.js";
import { makeFolder } from "../io/index.js";
import { disposeFeatures, type FeatureNetwork, type Features } from "../metrics/features/index.js";
import { fitGaussian, type GaussianFit } from "../metrics/index.js";
import { cat, fromTypedArray, loadTensors, saveTensors, scope, type Tensor } from "../torch/index.js";

/** Changes whenever the same images and network would give other statistics, so that older files are not read. */
const formatVersion = 1;

/** Images that a network sees at a time. */
const batchSize = 100;

/** `count` of `length` images, evenly spread: sets are often ordered by class. All where there are no more. */
export function evenlySpread(length: number, count: number): readonly number[] {
  if (count >= length) return Array.from({ length }, (_, i) => i);
  return Array.from({ length: count }, (_, i) => Math.floor((i * length) / count));
}

export interface LookOptions {
  onProgress?(done: number, total: number): void;
  readonly signal?: AbortSignal | undefined;
}

/** What `network` sees in the images of `indices`, on the CPU. @throws the signal's reason when it aborts */
export async function featuresOf(
  source: Pick<ImageSource, "read" | "shape">,
  indices: readonly number[],
  network: FeatureNetwork,
  { onProgress, signal }: LookOptions = {},
): Promise<Features> {
  const parts: Features[] = [];
  const size = source.shape.reduce((product, n) => product * n, 1);
  try {
    for (let start = 0; start < indices.length; start += batchSize) {
      signal?.throwIfAborted();
      const batch = indices.slice(start, start + batchSize);
      const bytes = new Uint8Array(batch.length * size);
      source.read(batch, bytes);
      const pixels = fromTypedArray(bytes, [batch.length, ...source.shape]);
      const seen = await network.compute(pixels).finally(() => pixels.dispose());
      parts.push(scope(() => mapFeatures(seen, (tensor) => tensor.toDevice("cpu", "float32"))));
      disposeFeatures(seen);
      onProgress?.(start + batch.length, indices.length);
      await turn();
    }
    return scope(() => joined(parts));
  } finally {
    for (const part of parts) disposeFeatures(part);
  }
}

function mapFeatures({ pool, spatial, probabilities }: Features, map: (tensor: Tensor) => Tensor): Features {
  return {
    pool: map(pool).clone(),
    ...(spatial ? { spatial: map(spatial).clone() } : {}),
    ...(probabilities ? { probabilities: map(probabilities).clone() } : {}),
  };
}

function joined(parts: readonly Features[]): Features {
  const all = (key: keyof Features) => parts.flatMap((part) => part[key] ?? []);
  const [spatial, probabilities] = [all("spatial"), all("probabilities")];
  return {
    pool: cat(all("pool")),
    ...(spatial.length > 0 ? { spatial: cat(spatial) } : {}),
    ...(probabilities.length > 0 ? { probabilities: cat(probabilities) } : {}),
  };
}

/** What samples are compared with. */
export interface Reference {
  /** Of all its images. */
  readonly pool: GaussianFit;
  readonly spatial?: GaussianFit;
  /** Features of some images, evenly spread, `[K, F]`: manifolds are of single points. */
  readonly points: Tensor;
}

export interface ReferenceRequest extends LookOptions {
  readonly source: ImageSource;
  /** So many of its images, evenly spread. */
  readonly images: number;
  /** K */
  readonly points: number;
  readonly network: FeatureNetwork;
  /** Called before a long computation with what it is. */
  log?(line: string): void;
}

/** The reference that was kept for the same images and the same network, or else computed and kept now. */
export async function referenceOf(request: ReferenceRequest): Promise<Reference> {
  const file = cacheFile(request);
  const kept = readReference(file);
  if (kept) return kept;
  const { source, images, network, log } = request;
  log?.(
    `features of ${images} ${source.split} images of ${source.name} (${network.name}), kept for the next time`,
  );
  const features = await featuresOf(source, evenlySpread(source.length, images), network, request);
  const reference = scope((): Reference => {
    const rows = fromTypedArray(BigInt64Array.from(evenlySpread(images, request.points), BigInt), [
      Math.min(images, request.points),
    ]);
    return {
      pool: fitGaussian(features.pool),
      ...(features.spatial ? { spatial: fitGaussian(features.spatial) } : {}),
      points: features.pool.indexSelect(0, rows),
    };
  });
  disposeFeatures(features);
  makeFolder(path.dirname(file));
  saveTensors(file, Object.entries(flattened(reference)));
  return reference;
}

function cacheFile({ source, images, points, network }: ReferenceRequest): string {
  const identity = [formatVersion, source.fingerprint, images, points, network.fingerprint];
  const key = createHash("sha256").update(JSON.stringify(identity)).digest("hex").slice(0, 16);
  return path.join(path.dirname(cacheFolder()), "features", `${key}.safetensors`);
}

function flattened({ pool, spatial, points }: Reference): Record<string, Tensor> {
  return {
    "pool.mean": pool.mean,
    "pool.covariance": pool.covariance,
    ...(spatial ? { "spatial.mean": spatial.mean, "spatial.covariance": spatial.covariance } : {}),
    points,
  };
}

/** What was kept in `file`; undefined where nothing was, or it is damaged and will be made anew. */
function readReference(file: string): Reference | undefined {
  if (!fs.existsSync(file)) return undefined;
  let tensors: ReadonlyMap<string, Tensor>;
  try {
    ({ tensors } = loadTensors(file));
  } catch {
    return undefined;
  }
  const gaussian = (name: string): GaussianFit | undefined => {
    const [mean, covariance] = [tensors.get(`${name}.mean`), tensors.get(`${name}.covariance`)];
    return mean && covariance ? { mean, covariance } : undefined;
  };
  const [pool, spatial, points] = [gaussian("pool"), gaussian("spatial"), tensors.get("points")];
  return pool && points ? { pool, ...(spatial ? { spatial } : {}), points } : undefined;
}

/** Frees a reference. */
export function disposeReference(reference: Reference): void {
  for (const tensor of Object.values(flattened(reference))) tensor.dispose();
}
