/**
 * Variational diffusion models on libtorch, as a library: the parts that most programs need. Each folder is a subpath
 * with all of its parts: `varidiff/torch`, `varidiff/nn`, `varidiff/networks`, `varidiff/diffusion`, `varidiff/systems`,
 * `varidiff/metrics`, `varidiff/analysis`, `varidiff/data`, `varidiff/plot`, `varidiff/io`, `varidiff/experiment`.
 *
 * ```ts
 * import { configSchema, LearnedLinear, openDataset, prepareMachine, sample, Streams, Trainer, VDM, VdmUnet } from "varidiff";
 *
 * const data = await openDataset({ name: "fashion-mnist", split: "train" });
 * const ends = { gammaMin: -13.3, gammaMax: 5 };
 * const size = { imageChannels: 1, channels: 64, depth: 2, attention: "none", fourierExponents: [6, 7], dropout: 0 } as const;
 * const vdm = new VDM({ shape: data.shape, schedule: new LearnedLinear(ends), denoiser: new VdmUnet({ ...size, ...ends }) });
 * vdm.initialise(new Streams(1));
 *
 * const config = configSchema.parse({ system: "vdm", train: { batchSize: 32 }, optimiser: { learningRate: 1e-3 } });
 * const trainer = new Trainer(config, prepareMachine(config), vdm, data);
 * for (let step = 0; step < 500; step++) trainer.advance();
 * console.log(trainer.read()?.bitsPerDim); // mean of the training bound
 * const images = await sample(vdm, { count: 16, steps: 100, sampler: "ancestral", streams: new Streams(2), pass: {} });
 * console.log(images.shape); // [16, 1, 28, 28], uint8
 * ```
 */
export { BatchOrder, type ImageSource, openDataset, type Split } from "./data/index.js";
export {
  type BoundedLikelihood,
  chainTables,
  cosineBetas,
  createConditionalSchedule,
  createDegradation,
  createLatent,
  createSchedule,
  type Degradation,
  type Denoiser,
  type DiffusionSystem,
  FixedLinear,
  GaussianChain,
  hasBound,
  hasFlow,
  hasPerTimeLoss,
  LearnedLinear,
  linearBetas,
  linearCombineBetas,
  logDensity,
  MonotoneCode,
  MonotonePaper,
  NoiseLevel,
  NoiseSchedule,
  type Objective,
  type Pass,
  Polynomial10,
  type PredictionKind,
  type StepNetwork,
  sample,
  sampleFlow,
  samplerNamed,
  samplerNames,
  switchIndex,
} from "./diffusion/index.js";
export { UserError } from "./errors.js";
export {
  buildSystem,
  type Config,
  compareRuns,
  configSchema,
  createRun,
  drawImages,
  estimateBound,
  evaluateShard,
  loadConfig,
  openRun,
  openSplit,
  openTrained,
  planOf,
  prepareMachine,
  Trainer,
  trainRun,
} from "./experiment/index.js";
export {
  createNetwork,
  createStepNetwork,
  GuidedUnet,
  type GuidedUnetOptions,
  VdmUnet,
  type VdmUnetOptions,
} from "./networks/index.js";
export { AdamW, type AdamWOptions, Module, Parameter } from "./nn/index.js";
export {
  ColdDiffusion,
  type ColdOptions,
  ContextMuLAN,
  createSystem,
  DAED,
  type DaedOptions,
  DDGM,
  type DdgmOptions,
  DiffEnc,
  type DiffEncOptions,
  HeatDissipation,
  type HeatOptions,
  MuLAN,
  type MulanOptions,
  VariationalColdDiffusion,
  type VcdOptions,
  VDM,
  type VdmOptions,
} from "./systems/index.js";
export {
  backward,
  fromTypedArray,
  Generator,
  grad,
  loadTensors,
  noGrad,
  randn,
  Streams,
  saveTensors,
  scope,
  Tensor,
  tensor,
} from "./torch/index.js";
