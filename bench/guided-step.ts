/** A training step of the guided-diffusion U-Net (DDGM, simple loss) against the same in eager PyTorch. */
import type { Benchmark, Measurement } from "./benchmark.js";
import { GuidedProblem, type GuidedSize } from "./guided-problem.js";
import { Python } from "./python.js";
import { compareSteps, type StepSetting, stepName } from "./step-comparison.js";

/** By the places of attention: 14 x 14 and 7 x 7 positions, or all 28 x 28 and the middle, as the official `16,8` means. */
const sizes: Readonly<Record<string, GuidedSize>> = {
  "14,7": { attentionResolutions: [14, 7], batch: 32 },
  "16,8": { attentionResolutions: [16, 8], batch: 16 },
};

/** On one thread alone: with more, a run would take twice as long. */
function settings(): StepSetting[] {
  return Object.entries(sizes).flatMap(([attention, size]) =>
    (["float32", "bfloat16"] as const).map((precision) => ({
      name: `guided-step/${attention}`,
      problem: () => new GuidedProblem(size),
      precision,
      threads: 1,
    })),
  );
}

export const guidedStep: Benchmark = async (say, wanted) => {
  const python = Python.start("guided_step.py", say);
  const results: Measurement[] = [];
  for (const setting of settings().filter((one) => wanted(stepName(one))))
    results.push(await compareSteps(setting, python, { rounds: 5, warmUp: 1, say }));
  python?.stop();
  return results;
};
