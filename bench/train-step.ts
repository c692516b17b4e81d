/** A whole training step of VDM (loss, gradient, AdamW, moving average) against the same in eager PyTorch. */
import { stepBenchmark } from "./step-benchmark.js";
import { cifar, fashion, quickstart, TrainingProblem, vdm8, vdm32 } from "./training-problem.js";

export const trainStep = stepBenchmark({
  script: "train_step.py",
  problems: {
    "train-step/28x28x1": (device) => new TrainingProblem(fashion, device),
    "train-step/32x32x3": (device) => new TrainingProblem(cifar, device),
    "train-step/quickstart": (device) => new TrainingProblem(quickstart, device),
    "train-step/vdm-8-batch-32": (device) => new TrainingProblem(vdm8, device),
    "train-step/vdm-32-batch-16": (device) => new TrainingProblem(vdm32, device),
  },
  ...{ rounds: 8, warmUp: 2 },
});
