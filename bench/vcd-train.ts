/** A training step of VWD with the published network of MNIST against the same in eager PyTorch. */
import { ColdProblem } from "./cold-problem.js";
import { comparisonBenchmark } from "./comparison-benchmark.js";

export const vcdTrain = comparisonBenchmark({
  problems: { "vcd-train": (device) => new ColdProblem(device) },
  launches: ["eager"],
  ...{ rounds: 5, warmUp: 1 },
});
