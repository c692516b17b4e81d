/** What an experiment will cost, before anything of it is allocated. */
import { catalogue } from "../data/index.js";
import { resolvePrecision } from "../torch/index.js";
import type { Config } from "./config.js";
import { buildModel, openSplit } from "./experiment.js";
import { stringifyConfig } from "./load-config.js";

/** What `train --dry-run` says: the resolved config, and numbers that follow from it. */
export interface Plan {
  readonly config: Config;
  /** `[C, H, W]` */
  readonly imageShape: readonly [number, number, number];
  /** How many numbers are trained. */
  readonly parameters: number;
  /** One forward pass of one image; undefined where the network does not say. */
  readonly flopsPerImage: number | undefined;
  readonly memory: {
    /** Weights, gradients, two moments and the moving average, float32. */
    readonly parameterBytes: number;
    /** What a batch takes at the peak of a training step. */
    readonly activationBytes: number | undefined;
  };
}

/** `[C, H, W]` of the images of a config. Known data sets are not opened for it. */
export async function imageShape(config: Config): Promise<readonly [number, number, number]> {
  const known = catalogue.find(({ name }) => name === config.data.name)?.shape;
  if (!known) return (await openSplit(config, "train")).shape;
  const { size } = config.data;
  return size === undefined ? known : [known[0], size, size];
}

/**
 * What a step takes at its peak over what it keeps for backward: gradients on their way and workspace. Measured as the
 * growth of the peak resident size of the quickstart's network: 1.4 to 1.6, batches of 32 and 128, both precisions.
 */
const inFlight = 1.5;

/**
 * The size and cost of what `config` trains; no weights are made, and no data are read unless the set's image size is unknown.
 * @throws UserError for parts that do not go together, and data that are not there where they have to be opened
 */
export async function planOf(config: Config): Promise<Plan> {
  const shape = await imageShape(config);
  const { system, network } = buildModel(config, shape);
  const parameters = system.parameterCount();
  const elements = network.activations?.(shape[1], shape[2], config.train.recompute);
  const width = resolvePrecision(config.precision, config.device) === "float32" ? 4 : 2;
  return {
    config,
    imageShape: shape,
    parameters,
    flopsPerImage: network.flops?.(shape[1], shape[2]),
    memory: {
      parameterBytes: parameters * 4 * 5,
      activationBytes:
        elements === undefined ? undefined : elements * width * config.train.batchSize * inFlight,
    },
  };
}

/** The plan as YAML that can be trained from, the numbers as comments below. */
export function describePlan({ config, imageShape, parameters, flopsPerImage, memory }: Plan): string {
  const size = (bytes: number) =>
    bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
  const activations = memory.activationBytes === undefined ? "unknown" : size(memory.activationBytes);
  const rows = [
    `images          ${imageShape.join(" x ")} (channels x height x width)`,
    `parameters      ${parameters.toLocaleString("en")}`,
    `FLOPs per image ${flopsPerImage === undefined ? "unknown" : `${(flopsPerImage / 1e9).toFixed(2)} G forward, three times that in training`}`,
    `memory          ${size(memory.parameterBytes)} for weights, gradients, moments and average; about ${activations} for a batch of ${config.train.batchSize}`,
  ];
  return `${stringifyConfig(config)}\n${rows.map((row) => `# ${row}`).join("\n")}`;
}
