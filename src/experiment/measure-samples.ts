/** The metrics of samples for images that lie in a file, wherever they come from. */
import { formats, type ImageSource, openDataset } from "../data/index.js";
import { UserError } from "../errors.js";
import { torchVersion } from "../torch/index.js";
import { prepareMachine } from "./experiment.js";
import { openFeatureNetwork } from "./feature-networks.js";
import { compare, factsOf, openReal } from "./measure-quality.js";
import type { MetricResult } from "./metric.js";
import { provenance } from "./provenance.js";
import { checkSamples, defaultQuality, type QualityPart, type QualitySettings } from "./quality-settings.js";

export interface SamplesRequest {
  /** The data set that they are compared with. */
  readonly data: string;
  readonly parts: readonly QualityPart[];
  readonly quality: Partial<QualitySettings>;
  readonly seed: number;
  /** Folders of runs, in which a classifier is looked for. */
  readonly roots: readonly string[];
  log?(line: string): void;
}

/**
 * The numbers of all images of an npz file, uint8 `[N, H, W, C]`.
 * @throws UserError for a file that is no such thing, and images of another shape than the data set's
 */
export async function measureSamples(file: string, request: SamplesRequest): Promise<MetricResult> {
  const { data, parts, seed, roots, log } = request;
  const start = performance.now();
  const machine = prepareMachine({ device: "auto", precision: "float32", threads: "auto" });
  const generated = await openSamples(file);
  const settings = { ...defaultQuality, ...request.quality, samples: generated.length };
  checkSamples(settings.samples, file);
  const open = (split: ImageSource["split"]) => openDataset({ name: data, split });
  const real = await openReal(open, { ...settings, heldOut: "test" });
  const [shape, expected] = [generated.shape.join(" x "), real.reference.shape.join(" x ")];
  if (shape !== expected)
    throw new UserError(`${file}: expected images of ${expected} as those of ${data}, got ${shape}`);
  const network = await openFeatureNetwork({
    ...{ asked: settings.features, data: real.train, roots, machine },
  });
  const { summary, values } = await compare(generated, { real, network, parts, seed, log });
  const facts = { metric: "quality", file, samples: generated.length, seed, parts };
  const seconds = (performance.now() - start) / 1000;
  return {
    summary: `${summary}\n  ${generated.length} images of ${file}`,
    document: {
      ...values,
      ...facts,
      ...factsOf(real, network, settings),
      seconds,
      provenance: provenance({ libtorch: torchVersion().torch, ...machine }),
    },
  };
}

async function openSamples(file: string): Promise<ImageSource> {
  // A file's name may say a split, as in samples-test.npz: whatever it says, all of it is meant.
  const [split = "train"] = await formats.npz.splits(file);
  return openDataset({ name: "npz", path: file, split });
}
