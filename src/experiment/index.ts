/** Experiments: configs, runs, checkpoints, training and evaluation. */
export { type Config, configSchema } from "./config.js";
export {
  buildSystem,
  evaluationPass,
  type Machine,
  openSplit,
  prepareMachine,
  readBatch,
} from "./experiment.js";
export { loadConfig, stringifyConfig } from "./load-config.js";
export { type Reading, Trainer } from "./trainer.js";
