/** A training step of the guided-diffusion U-Net (DDGM, simple loss) against the same in eager PyTorch. */
import { comparisonBenchmark } from "./comparison-benchmark.js";
import { GuidedProblem } from "./guided-problem.js";

/** By the places of attention: 14 x 14 and 7 x 7 positions, or all 28 x 28 and the middle, as the official `16,8` means. */
export const daedTrain = comparisonBenchmark({
  problems: {
    "daed-train/14,7-batch-64": (device) =>
      new GuidedProblem({ attentionResolutions: [14, 7], batch: 64 }, device),
    "daed-train/16,8-batch-64": (device) =>
      new GuidedProblem({ attentionResolutions: [16, 8], batch: 64 }, device),
  },
  ...{ rounds: 5, warmUp: 1 },
});
