/** A draw of the variational bound of a batch of images against the same in eager PyTorch. */
import type { BenchDevice } from "./benchmark.js";
import { comparisonBenchmark } from "./comparison-benchmark.js";
import { ddgmOf } from "./guided-problem.js";
import { LikelihoodProblem } from "./inference-problem.js";
import { fashion, type VdmSize, vdm8, vdm32, vdmOf } from "./vdm-problem.js";

const vdm = (size: VdmSize) => (device: BenchDevice) =>
  new LikelihoodProblem(vdmOf(size), { script: "vdm_inference.py", batch: size.batch }, device);

/** Two evaluations of the network an image: of the first step, and of one of the others. */
const guided = (attentionResolutions: readonly number[]) => (device: BenchDevice) =>
  new LikelihoodProblem(
    ddgmOf({ attentionResolutions }),
    { script: "guided_inference.py", batch: 64 },
    device,
  );

export const likelihood = comparisonBenchmark({
  problems: {
    "likelihood/vdm-28x28": vdm(fashion),
    "likelihood/vdm-8": vdm(vdm8),
    "likelihood/vdm-32": vdm(vdm32),
    "likelihood/guided-14,7": guided([14, 7]),
    "likelihood/guided-16,8": guided([16, 8]),
  },
  ...{ launches: ["eager"], halfSidesOnCuda: ["tuned"] },
  ...{ rounds: 5, warmUp: 1 },
});
