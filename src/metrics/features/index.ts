/** Networks that images are compared in. */
export { classifierFeatures, hashOfWeights } from "./classifier.js";
export { disposeFeatures, type FeatureNetwork, type Features, labelled } from "./feature-network.js";
export { openFeatureFile } from "./files.js";
export {
  openInception,
  type RegisteredInception,
  registeredInception,
  registerInception,
  styleGanLayout,
} from "./inception.js";
export { type LaidOut, type Layout, laidOut, layoutSchema, readLayout } from "./layout.js";
export { onnxFeatures } from "./onnx.js";
export { type InputLayout, interpolation, prepared, type Resizing } from "./resampling.js";
export { torchScriptFeatures } from "./torch-script.js";
