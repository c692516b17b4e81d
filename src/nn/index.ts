/** Modules, layers, initialisers and the optimiser. */
export * from "./initialisers.js";
export * from "./layers.js";
export { Module, Parameter, type ParameterOptions } from "./module.js";
export { AdamW, type AdamWOptions, globalNorm, learningRateAt } from "./optimiser.js";
