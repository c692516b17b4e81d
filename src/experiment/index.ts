/** Experiments: configs, runs, checkpoints, training, evaluation and drawing. */
export { CapturedStep } from "./captured-step.js";
export {
  type Checkpoint,
  listCheckpoints,
  newestWholeCheckpoint,
  openCheckpoint,
} from "./checkpoint-files.js";
export { type Comparison, type ComparisonRequest, compareRuns } from "./comparison.js";
export { type ComposeRequest, type ComposeResult, composeRuns } from "./compose-run.js";
export { type Config, configSchema } from "./config.js";
export { ConfigError, type ConfigProblem } from "./config-errors.js";
export { type Drawn, type DrawRequest, drawImages } from "./drawing.js";
export { evaluateShard, type ShardOutcome } from "./evaluate-shard.js";
export {
  type BoundEstimate,
  type BoundRequest,
  type BoundValue,
  boundWork,
  type Estimate,
  estimate,
  estimateBound,
} from "./evaluation.js";
export {
  buildModel,
  buildSystem,
  evaluationPass,
  type Machine,
  openSplit,
  prepareMachine,
  readBatch,
} from "./experiment.js";
export { type ExportOptions, type ExportResult, exportStateDict } from "./export-run.js";
export { defaultFlowSettings, type FlowSettings } from "./flow-settings.js";
export { type ImportRequest, type ImportResult, importRun } from "./import-run.js";
export { type MetricsRecord, readMetrics } from "./journal.js";
export type { Shard } from "./ledger.js";
export { type ConfigRequest, loadConfig, stringifyConfig } from "./load-config.js";
export { accuracyMeasurement } from "./measure-accuracy.js";
export { bitsMeasurement, measureBits } from "./measure-bits.js";
export { flowMeasurement } from "./measure-flow.js";
export { qualityMeasurement } from "./measure-quality.js";
export { reconstructionMeasurement } from "./measure-reconstruction.js";
export { restorationMeasurement } from "./measure-restoration.js";
export { measureSamples } from "./measure-samples.js";
export {
  type Measurement,
  type MeasureRequest,
  type Metric,
  type MetricResult,
  measureNow,
} from "./metric.js";
export { metricNamed, metricNames } from "./metrics.js";
export { type Plan, planOf } from "./plan.js";
export { type Provenance, provenance } from "./provenance.js";
export { createRun, listRuns, type NewRun, type OpenedRun, openRun, type Run } from "./run-folder.js";
export { type Sampling, samplingOf } from "./sampling.js";
export { ensureStart, restoreStart } from "./start-file.js";
export { openAnyTrained, openTrained, runConfig, type Trained, type TrainedRequest } from "./trained.js";
export { type Reading, Trainer } from "./trainer.js";
export { type TrainingReport, type TrainingRequest, type TrainingResult, trainRun } from "./training-run.js";
export { type Alternative, type Welch, welchTest } from "./welch.js";
