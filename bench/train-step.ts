/** A whole training step of VDM (loss, gradient, AdamW, moving average) against the same in eager PyTorch. */
import { stepBenchmark } from "./step-benchmark.js";
import { cifar, fashion, quickstart, TrainingProblem, vdm8, vdm32 } from "./training-problem.js";

export const trainStep = stepBenchmark({
  script: "train_step.py",
  problems: {
    "train-step/28x28x1": () => new TrainingProblem(fashion),
    "train-step/32x32x3": () => new TrainingProblem(cifar),
    "train-step/quickstart": () => new TrainingProblem(quickstart),
    "train-step/vdm-8-batch-32": () => new TrainingProblem(vdm8),
    "train-step/vdm-32-batch-16": () => new TrainingProblem(vdm32),
  },
  ...{ rounds: 8, warmUp: 2 },
});
