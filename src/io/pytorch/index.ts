/** PyTorch's state dicts: reading without running anything in them, and writing. */
export { readStateDict, type StateDict, type StateDictOptions } from "./state-dict.js";
export { writeStateDict } from "./write.js";
