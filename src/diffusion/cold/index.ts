/** Cold diffusion: degraded images, and how they are led back. */
export {
  type ColdSampler,
  type ColdStep,
  type ColdStepped,
  checkColdSampler,
  cleanImage,
  coldSamplerNamed,
  coldSamplerNames,
  type LevelPrediction,
  levelPredictions,
  levelsVisited,
} from "./cold-samplers.js";
export {
  exchangedLatents,
  type LatentExchange,
  levelsBetween,
  singleExchanges,
  windowedExchanges,
} from "./exchange.js";
export {
  type HeatNoise,
  heatPriorTerm,
  heatReconstructionTerm,
  heatStepTerm,
} from "./heat-terms.js";
export { klWeight, teacherAge, teacherCounters } from "./kl-weight.js";
export { type LevelLoss, levelLoss, levelLosses, lossReductions, meanBrightness } from "./level-loss.js";
export type { LatentLevelNetwork, LatentPosterior, LevelNetwork, LevelTimes } from "./level-network.js";
export * from "./start/index.js";
export { type TeacherPath, type TeacherStep, teacherStates } from "./teacher-path.js";
