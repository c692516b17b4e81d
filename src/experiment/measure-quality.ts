/** The metric `quality`: samples of a run beside real images, in the features of a network. */
import path from "node:path";
import type { ImageSource, Split } from "../data/index.js";
import { checkSampler, sample } from "../diffusion/sampler/index.js";
import { UserError } from "../errors.js";
import { disposeFeatures, type FeatureNetwork } from "../metrics/features/index.js";
import { fromTypedArray, Streams, torchVersion } from "../torch/index.js";
import { type Part, partsOf } from "./batch-parts.js";
import type { JsonObject } from "./checkpoint-files.js";
import { areCoupled, conditionOf } from "./drawing.js";
import { DrawnSamples } from "./drawn-samples.js";
import { evaluationPass, openSplit } from "./experiment.js";
import { openFeatureNetwork } from "./feature-networks.js";
import { disposeReference, evenlySpread, featuresOf, referenceOf } from "./image-features.js";
import { imagesAtOnce } from "./images-at-once.js";
import type { Finding, Measurement, MeasureRequest } from "./metric.js";
import { judge, type Score, type Scores } from "./quality.js";
import {
  checkSamples,
  defaultQuality,
  type QualityPart,
  type QualitySettings,
  qualityParts,
} from "./quality-settings.js";
import { samplingOf } from "./sampling.js";
import { ensureStart } from "./start-file.js";
import { changesOf, type Trained } from "./trained.js";
import { precisionOf, unusual } from "./unusual.js";
import { cutInPieces, type Piece, type PieceOptions } from "./work.js";

/** Images drawn at a time, as `sample` does: the same seed gives the same images there. */
const usualBatch = 64;

/** Manifolds and clusterings are of no more images than this: their cost grows with the square. */
const mostPoints = 10_000;

/** @throws UserError for a sampler there is not, too few images, and where there is no feature network */
export async function qualityMeasurement(
  trained: Trained,
  request: MeasureRequest,
  parts: readonly QualityPart[] = qualityParts,
): Promise<Measurement> {
  const { system, config, run, machine, step, ema } = trained;
  const settings = { ...defaultQuality, ...request.quality };
  const { samples, keepSamples } = settings;
  const usual = samplingOf(config, system, settings.sampler);
  const { sampler } = usual;
  const steps = request.steps ?? usual.steps;
  checkSampler(sampler);
  if (steps < 1) throw new UserError(`expected --steps of at least 1 for samples, got ${steps}`);
  checkSamples(samples, "--samples");
  const { seed } = request;
  const batchSize = request.batchSize ?? usualBatch;
  const { evaluationSplit } = config.data;
  const real = await openReal((split) => openSplit(config, split), {
    ...settings,
    heldOut: evaluationSplit === "train" ? "test" : evaluationSplit,
  });
  const network = await openFeatureNetwork({
    asked: settings.features,
    data: real.train,
    roots: [path.dirname(path.resolve(run.dir)), "runs"],
    machine,
  });
  const changes = changesOf(trained);
  const drawing: JsonObject = {
    ...{ samples, sampler, steps, seed, batchSize, step, ema, precision: machine.precision },
    ...changes.facts,
    run: run.name,
    system: config.system,
  };
  const name = [
    ...["quality", String(step).padStart(8, "0"), ema ? "ema" : "raw", sampler, `T${steps}`],
    ...[`${samples}`, `seed${seed}`, ...changes.name],
    ...unusual(
      { seed: 0, precision: machine.precision, batchSize },
      { precision: precisionOf(trained.own), batchSize: usualBatch },
    ),
  ].join("-");
  const files = new DrawnSamples({
    folder: path.join(run.paths.evaluation, `${name}.samples`),
    shape: real.reference.shape as [number, number, number],
  });
  await ensureStart(trained, { log: request.log });
  const condition = await conditionOf(trained, samples, undefined);
  const streams = new Streams(seed);
  const pass = evaluationPass(machine);
  const atOnce = areCoupled({ sampler }) ? undefined : imagesAtOnce(trained);
  const drawPart = async (part: Part, first: number, options: Parameters<typeof sample>[2]) => {
    const ofPart = condition?.subarray(first, first + part.count);
    const images = await sample(
      system,
      {
        ...{ count: part.count, steps, sampler, streams: part.streams, pass },
        ...(ofPart ? { condition: fromTypedArray(ofPart, [part.count]).toDevice(machine.device) } : {}),
      },
      options,
    );
    try {
      return images.toTypedArray() as Uint8Array;
    } finally {
      images.dispose();
    }
  };
  const draw = async ({ batch, indices, weight }: Piece, { signal, onPart }: PieceOptions) => {
    const drawn: Uint8Array[] = [];
    for (const part of partsOf(streams.at(batch), weight, atOnce))
      drawn.push(
        await drawPart(part, (indices[0] as number) + part.first, {
          onProgress: (done) => onPart?.((part.first + done * part.count) / weight),
          ...(signal ? { signal } : {}),
        }),
      );
    return Buffer.concat(drawn);
  };
  const suffix = parts.length === qualityParts.length ? [] : parts;
  const npz = path.join(run.paths.evaluation, `samples-${name}.npz`);
  return {
    name: [name, network.fingerprint.slice(0, 8), real.reference.split, ...suffix].join("-"),
    facts: { metric: "quality", ...drawing, parts: [...parts], ...factsOf(real, network, settings) },
    machine: { libtorch: torchVersion().torch, ...machine },
    pieces: cutInPieces({ part: "samples", images: samples, batchSize, passes: 1 }),
    measure: async (piece, options) => files.keep(piece, await draw(piece, options)),
    holds: (piece, numbers) => files.holds(piece, numbers),
    async summarise(measured) {
      const generated = files.read(measured);
      const found = await compare(generated, { real, network, parts, seed, log: request.log });
      if (keepSamples === "kept") files.export(measured, npz);
      const drawn = `${samples} samples of ${sampler}, ${steps} steps, seed ${seed}, ${ema ? "averaged" : "raw"} weights of step ${step}, ${machine.precision}`;
      return {
        summary: `${found.summary}\n  ${drawn}`,
        values: { ...found.values, ...(keepSamples === "kept" ? { samplesFile: npz } : {}) },
      };
    },
    clean: () => files.remove(),
  };
}

/** Real images, to compare with and to see what is reached without a model. */
export interface RealImages {
  /** What a classifier would have been trained on. */
  readonly train: ImageSource;
  readonly reference: ImageSource;
  /** Images of it that are used. */
  readonly images: number;
  /** The other split; undefined where it is not asked for, or not there. */
  readonly other: ImageSource | undefined;
}

/** Opens the splits. @throws UserError where the reference is not there, or is asked for too few images */
export async function openReal(
  open: (split: Split) => Promise<ImageSource>,
  { reference: split, referenceImages, floor, heldOut }: QualitySettings & { readonly heldOut: Split },
): Promise<RealImages> {
  const reference = await open(split);
  const images = Math.min(referenceImages ?? reference.length, reference.length);
  checkSamples(images, "--reference-images");
  const otherSplit = split === "train" ? heldOut : "train";
  // A set of one split alone has no floor.
  const other = await open(otherSplit).catch((error: unknown) => {
    if (error instanceof UserError) return undefined;
    throw error;
  });
  const train = split === "train" ? reference : (other ?? reference);
  return { train, reference, images, other: floor === "measured" ? other : undefined };
}

/** What a document says of what samples were compared with. */
export function factsOf(
  { reference, images, other }: RealImages,
  { name, fingerprint, standing }: FeatureNetwork,
  { samples }: Pick<QualitySettings, "samples">,
): JsonObject {
  return {
    features: { name, fingerprint, standing },
    data: { name: reference.name, fingerprint: reference.fingerprint, shape: [...reference.shape] },
    reference: { split: reference.split, images },
    floor: other ? { split: other.split, images: Math.min(samples, other.length) } : null,
  };
}

export interface CompareRequest {
  readonly real: RealImages;
  readonly network: FeatureNetwork;
  readonly parts: readonly QualityPart[];
  readonly seed: number;
  readonly log?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The numbers of `generated` images beside the real ones, and those of as many real ones. */
export async function compare(
  generated: Pick<ImageSource, "length" | "shape" | "read">,
  { real, network, parts, seed, log, signal }: CompareRequest,
): Promise<Finding> {
  const count = generated.length;
  const seen = await featuresOf(generated, evenlySpread(count, count), network, { signal });
  const points = Math.min(count, mostPoints);
  const { reference: source, images, other } = real;
  const reference = await referenceOf({ source, images, points, network, signal, ...(log ? { log } : {}) });
  const streams = new Streams(new Streams(seed).key("quality"));
  const common = { reference, network, streams };
  const scores = judge(parts, seen, { ...common, errors: "estimated" });
  let floor: Scores = {};
  if (other) {
    const others = await featuresOf(other, evenlySpread(other.length, count), network, { signal });
    floor = judge(parts, others, { ...common, errors: "none" });
    disposeFeatures(others);
  }
  const sizes = { pool: seen.pool.dim(1), spatial: seen.spatial?.dim(1) ?? null };
  disposeFeatures(seen);
  disposeReference(reference);
  const values = Object.fromEntries(
    Object.entries(scores).map(([key, score]) => [key, { ...score, floor: floor[key]?.value ?? null }]),
  );
  return {
    summary: describe(scores, floor, { real, network, count }),
    values: { scores: values, featureSizes: sizes, points },
  };
}

function describe(
  scores: Scores,
  floor: Scores,
  o: { readonly real: RealImages; readonly network: FeatureNetwork; readonly count: number },
): string {
  const { reference, images, other } = o.real;
  const entries = Object.entries(scores);
  if (entries.length === 0) return `${o.network.name} has no features for what was asked`;
  const width = Math.max(...entries.map(([, { label }]) => label.length));
  const rows = entries.map(([key, score]) => {
    const real = floor[key];
    const beside = real ? `   real images: ${digits(real.value)}` : "";
    return `${score.label.padEnd(width)}  ${show(score)}${beside}`;
  });
  const floorWords = other
    ? [`  real images: ${Math.min(o.count, other.length)} of the ${other.split} split in the samples' place`]
    : [];
  return [
    ...rows,
    `  against ${images} ${reference.split} images of ${reference.name}; features of ${o.network.name}; +- standard error over samples`,
    ...floorWords,
  ].join("\n");
}

const digits = (value: number) => value.toPrecision(4);

function show({ value, standardError }: Score): string {
  return standardError === null ? digits(value) : `${digits(value)} +- ${standardError.toPrecision(2)}`;
}
