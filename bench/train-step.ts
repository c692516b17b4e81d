/** A whole training step (loss, gradient, AdamW, moving average) against the same in eager PyTorch. */
import os from "node:os";
import { physicalCores } from "varidiff/torch";
import type { Benchmark, Measurement } from "./benchmark.js";
import { Python } from "./python.js";
import { compareSteps, type StepSetting, stepName } from "./step-comparison.js";
import { cifar, fashion, type ProblemSize, TrainingProblem } from "./training-problem.js";

const sizes: Readonly<Record<string, ProblemSize>> = { "28x28x1": fashion, "32x32x3": cifar };

function settings(): StepSetting[] {
  const counts = [...new Set([1, physicalCores(), os.availableParallelism()])];
  return Object.entries(sizes).flatMap(([name, size]) =>
    (["float32", "bfloat16"] as const).flatMap((precision) =>
      counts.map((threads) => ({
        name: `train-step/${name}`,
        problem: () => new TrainingProblem(size),
        precision,
        threads,
      })),
    ),
  );
}

export const trainStep: Benchmark = async (say, wanted) => {
  const python = Python.start("train_step.py", say);
  const results: Measurement[] = [];
  for (const setting of settings().filter((one) => wanted(stepName(one))))
    results.push(await compareSteps(setting, python, { rounds: 8, warmUp: 2, say }));
  python?.stop();
  return results;
};
