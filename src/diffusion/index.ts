/** The parts that systems are composed of: schedules, noise levels, predictions, likelihoods, samplers. */
export type { Denoiser, Pass } from "./denoiser.js";
export type { DataEncoder } from "./encoder.js";
export * from "./encoding/index.js";
export * from "./latent/index.js";
export { NoiseLevel, perImage, perPixel, Transition } from "./level.js";
export * from "./likelihood/bound.js";
export * from "./likelihood/dequantise.js";
export * from "./likelihood/discretised.js";
export * from "./likelihood/flow.js";
export { type SolveCost, type SolveOptions, type StepReport, solve } from "./likelihood/rk45.js";
export * from "./likelihood/step-divergence.js";
export * from "./likelihood/variance-ratio.js";
export * from "./prediction.js";
export * from "./sampler/index.js";
export * from "./schedule/conditional/index.js";
export * from "./schedule/index.js";
export * from "./system.js";
export * from "./times.js";
