/** Tensors on libtorch: `import { randn, scope, Tensor } from "varidiff/torch"`. */
export {
  type AutocastOptions,
  autocast,
  backward,
  clearGradients,
  type Directional,
  directionalDerivative,
  enableGrad,
  type GradOptions,
  grad,
  noGrad,
  withoutAutocast,
} from "./autograd.js";
export { checkpoint } from "./checkpoint.js";
export * from "./create.js";
export { CudaGraph } from "./cuda-graph.js";
export * from "./device.js";
export type { Dtype, FloatDtype } from "./dtype.js";
export * from "./functional.js";
export { type Argument, call, operator, operatorMany, type Result, schema } from "./operator.js";
export { type ProfileRow, profile } from "./profile.js";
export { type DropoutKeys, Generator, Streams } from "./random.js";
export { fromStored, loadTensors, saveTensors, toStored } from "./safetensors.js";
export { liveTensors, scope } from "./scope.js";
export { loadScript, ScriptModule } from "./script.js";
export { withoutHost } from "./seal.js";
export { type MemoryFormat, type Shape, Tensor, type TypedArray } from "./tensor.js";
