/** The metric `bpd`: the variational bound of a run on a split, with what it was measured on. */
import { hasBound } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { Streams, torchVersion } from "../torch/index.js";
import { type Estimate, estimateBound } from "./evaluation.js";
import { evaluationPass, openSplit, readBatch } from "./experiment.js";
import type { MeasureRequest, MetricResult } from "./metric.js";
import { provenance } from "./provenance.js";
import type { Trained } from "./trained.js";

const show = ({ mean, standardError }: Estimate): string =>
  `${mean.toFixed(4)} +- ${standardError.toFixed(4)}`;

/** @throws UserError for a system without a bound. */
export async function measureBits(trained: Trained, request: MeasureRequest): Promise<MetricResult> {
  const { config, machine, system, run, step, ema } = trained;
  if (!hasBound(system))
    throw new UserError(`expected a system with a likelihood bound, got ${config.system}`);
  const split = request.split ?? config.data.evaluationSplit;
  const source = await openSplit(config, split);
  const images = Math.min(request.images ?? config.evaluate.images ?? source.length, source.length);
  const passes = request.passes ?? config.evaluate.passes;
  const batchSize = request.batchSize ?? config.evaluate.batchSize;
  const steps = request.steps ?? config.model.steps;
  const start = performance.now();
  const result = await estimateBound({
    system,
    source,
    images,
    passes,
    batchSize,
    steps,
    streams: new Streams(request.seed),
    pass: evaluationPass(machine),
    readBatch: (indices) => readBatch(source, indices, { config, device: machine.device }),
    onProgress: request.onProgress,
    signal: request.signal,
  });
  const document = {
    metric: "bpd",
    ...result,
    split,
    ema,
    precision: machine.precision,
    step,
    steps,
    seed: request.seed,
    batchSize,
    run: run.name,
    system: config.system,
    data: {
      name: source.name,
      fingerprint: source.fingerprint,
      shape: source.shape,
      ...(config.data.size === undefined ? {} : { size: config.data.size }),
      dequantisation: "none",
      augmentation: config.data.augment,
    },
    seconds: (performance.now() - start) / 1000,
    provenance: provenance({ libtorch: torchVersion().torch, ...machine }),
  };
  const terms = Object.entries(result.terms).map(([name, value]) => `  ${name.padEnd(16)}${show(value)}`);
  const time = steps === 0 ? "continuous time" : `T = ${steps}`;
  const summary = [
    `${show(result.bitsPerDim)} bits/dim (variational bound, ${time}; mean +- standard error)`,
    ...terms,
    `  on ${images} ${split} images of ${source.name}, ${passes} ${passes === 1 ? "pass" : "passes"}, ${ema ? "averaged" : "raw"} weights of step ${step}, ${machine.precision}`,
  ].join("\n");
  return { summary, document };
}
