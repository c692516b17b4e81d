/** Files: atomic writing, safetensors, JSON Lines and TensorBoard events. */
export * from "./files.js";
export * from "./jsonl.js";
export * from "./npz.js";
export * from "./pytorch/index.js";
export * from "./safetensors.js";
export * from "./tensorboard.js";
