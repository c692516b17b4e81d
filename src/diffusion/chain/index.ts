/** Discrete chains: schedules of betas, forward and reverse steps, losses, step sampling, respacing. */
export {
  type BetaScheduleConfig,
  betaScheduleSchema,
  checkBetas,
  cosineBetas,
  createBetas,
  linearBetas,
  linearCombineBetas,
} from "./betas.js";
export {
  ancestralStep,
  type ChainSampler,
  type ChainSamplerStep,
  chainSamplerNamed,
  chainSamplerNames,
  ddimReverseStep,
  ddimStep,
} from "./chain-samplers.js";
export { GaussianChain, type Normal } from "./gaussian-chain.js";
export { laplacianDistance } from "./laplacian.js";
export { logPower, logSnr, logSnrChanges, logSnrOfSteps } from "./log-snr.js";
export {
  type BoundTerm,
  boundTerm,
  type ChainDraw,
  type ChainLoss,
  type ChainLosses,
  chainLoss,
  chainLosses,
  type FirstTerm,
} from "./objective.js";
export { respacedCount, respacedSteps } from "./respacing.js";
export {
  type ImageCorrection,
  type MeanType,
  meanTypes,
  outputChannels,
  type ReverseStep,
  type ReverseType,
  reverseStep,
  type VarianceType,
  varianceTypes,
} from "./reverse.js";
export { routed } from "./routing.js";
export type { StepNetwork } from "./step-network.js";
export {
  createStepSampler,
  LossSecondMoment,
  type SampledSteps,
  type SampleStepsOptions,
  type StepSampler,
  type StepSampling,
  sampleSteps,
  stepProbabilities,
  stepSamplings,
} from "./step-sampling.js";
export { type ChainTables, chainTables, switchIndex } from "./tables.js";
