/** A whole training step of VDM (loss, gradient, AdamW, moving average) against the same in eager PyTorch. */
import { comparisonBenchmark } from "./comparison-benchmark.js";
import { cifar, fashion, quickstart, VdmProblem, vdm8, vdm32 } from "./vdm-problem.js";

export const trainStep = comparisonBenchmark({
  problems: {
    "train-step/28x28x1": (device) => new VdmProblem(fashion, device),
    "train-step/32x32x3": (device) => new VdmProblem(cifar, device),
    "train-step/quickstart": (device) => new VdmProblem(quickstart, device),
    "train-step/vdm-8-batch-32": (device) => new VdmProblem(vdm8, device),
    "train-step/vdm-32-batch-16": (device) => new VdmProblem(vdm32, device),
  },
  ...{ rounds: 8, warmUp: 2 },
});
