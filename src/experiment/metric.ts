/** What a metric is: a measurement of a trained system that carries its own provenance. */
import type { Split } from "../data/index.js";
import type { Trained } from "./trained.js";

/** What may be asked of a measurement; what is not given comes from the run's config. */
export interface MeasureRequest {
  readonly split?: Split | undefined;
  readonly images?: number | undefined;
  readonly passes?: number | undefined;
  readonly batchSize?: number | undefined;
  /** T of the bound, 0 for continuous time. */
  readonly steps?: number | undefined;
  readonly seed: number;
  onProgress(done: number, total: number): void;
  readonly signal?: AbortSignal | undefined;
}

/** Measures a trained system. */
export type Metric = (trained: Trained, request: MeasureRequest) => Promise<MetricResult>;

export interface MetricResult {
  /** For people, a few lines. */
  readonly summary: string;
  /** For machines: the numbers, and everything they depend on. */
  readonly document: Readonly<Record<string, unknown>>;
}
