/** What a metric is: it says what there is to measure of a trained system, and what the numbers mean. */
import type { Split } from "../data/index.js";
import type { ImageModel } from "../diffusion/system.js";
import type { JsonObject } from "./checkpoint-files.js";
import type { FlowSettings } from "./flow-settings.js";
import type { ReconstructionSettings } from "./measure-reconstruction.js";
import { type Provenance, provenance } from "./provenance.js";
import type { QualitySettings } from "./quality-settings.js";
import type { Trained } from "./trained.js";
import { doWork, type Measured, type Work, type WorkOptions } from "./work.js";

/** What may be asked of a measurement; what is not given comes from the run's config. */
export interface MeasureRequest {
  readonly split?: Split | undefined;
  readonly images?: number | undefined;
  readonly passes?: number | undefined;
  readonly batchSize?: number | undefined;
  /** T of the bound, 0 for continuous time. */
  readonly steps?: number | undefined;
  readonly seed: number;
  /** What stands in for the trained schedule. */
  readonly schedule?: "mean" | "linear" | undefined;
  /** How the probability-flow ODE is used, where it is. */
  readonly flow?: Partial<FlowSettings> | undefined;
  /** What samples are compared with, and how, where they are. */
  readonly quality?: Partial<QualitySettings> | undefined;
  /** From which noise images are brought back, and whose, where they are. */
  readonly reconstruction?: ReconstructionSettings | undefined;
  /** A line for people about what takes long. */
  log?(line: string): void;
}

/** What the numbers say. */
export interface Finding {
  /** For people, a few lines. */
  readonly summary: string;
  /** For machines. */
  readonly values: Readonly<Record<string, unknown>>;
}

/** Work whose result is a document. */
export interface Measurement extends Work<Finding | Promise<Finding>> {
  /** Of its result's file, without the ending: a result is replaced by another of the same kind alone. */
  readonly name: string;
  /** What was measured, on what and how: everything that the numbers depend on. */
  readonly facts: JsonObject;
  readonly machine: Pick<Provenance, "libtorch" | "device" | "threads" | "precision">;
  /** Removes what pieces have left beside their numbers, once the result is written. */
  clean?(): void;
}

/** Plans the measurement of whatever was trained. @throws UserError for what it cannot measure */
export type Metric = (trained: Trained<ImageModel>, request: MeasureRequest) => Promise<Measurement>;

export interface MetricResult {
  /** For people, a few lines. */
  readonly summary: string;
  /** For machines: the numbers, and everything they depend on. */
  readonly document: Readonly<Record<string, unknown>>;
}

/** The result of a measurement all of whose pieces are done, in `seconds` of work. */
export async function resultOf(
  { facts, machine, summarise }: Measurement,
  measured: readonly Measured[],
  seconds: number,
): Promise<MetricResult> {
  const { summary, values } = await summarise(measured);
  return { summary, document: { ...values, ...facts, seconds, provenance: provenance(machine) } };
}

/** Measures here and now, keeping nothing on the way. @throws the signal's reason when it aborts */
export async function measureNow(measurement: Measurement, options: WorkOptions): Promise<MetricResult> {
  const start = performance.now();
  const summarise = (measured: readonly Measured[]) => measured;
  const measured = await doWork({ ...measurement, summarise }, options);
  return resultOf(measurement, measured, (performance.now() - start) / 1000);
}
