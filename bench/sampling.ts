/** Sampling, from noise to pixels, against the same in eager PyTorch. */
import { randn, tensor } from "varidiff/torch";
import type { BenchDevice } from "./benchmark.js";
import { vcdOf } from "./cold-problem.js";
import { comparisonBenchmark } from "./comparison-benchmark.js";
import { ddgmOf } from "./guided-problem.js";
import { SamplingProblem, stepNoise, type WalkDraws } from "./inference-problem.js";
import { knownImages } from "./problem.js";
import { fashion, type VdmSize, vdm8, vdm32, vdmOf } from "./vdm-problem.js";

/** Few of many: all evaluations of a network take as long. */
const steps = 4;

const samplers = ["ancestral", "ddim"] as const;

function vdmSampling(size: VdmSize, sampler: string, device: BenchDevice) {
  const { batch } = size;
  const walk = { script: "vdm_inference.py", sampler, steps, batch, draws: stepNoise };
  return new SamplingProblem(vdmOf(size), walk, device);
}

/** Python is told which steps of the chain are taken. */
const chainDraws: WalkDraws<ReturnType<typeof ddgmOf>> = (system, streams, walk) => ({
  ...stepNoise(system, streams, walk),
  kept: tensor([...system.chain.respaced(`${walk.steps}`).timesteps], { dtype: "int64" }),
});

function guidedSampling(attentionResolutions: readonly number[], sampler: string, device: BenchDevice) {
  const walk = { script: "guided_inference.py", sampler, steps, batch: 64, draws: chainDraws };
  return new SamplingProblem(ddgmOf({ attentionResolutions }), walk, device);
}

const coldDraws: WalkDraws<ReturnType<typeof vcdOf>> = ({ latentSize }, streams) => ({
  latents: randn([knownImages, latentSize], streams.generator("sample/latents")),
});

function vcdSampling(device: BenchDevice) {
  const system = vcdOf();
  const walk = { script: "vcd_inference.py", sampler: "ancestral", steps: system.levels, batch: 64 };
  return new SamplingProblem(system, { ...walk, draws: coldDraws }, device);
}

const rows = (name: string, problem: (sampler: string, device: BenchDevice) => SamplingProblem) =>
  Object.fromEntries(
    samplers.map((sampler) => [
      `sampling/${name}/${sampler}`,
      (device: BenchDevice) => problem(sampler, device),
    ]),
  );

export const sampling = comparisonBenchmark({
  problems: {
    ...rows("vdm-28x28", (...of) => vdmSampling(fashion, ...of)),
    ...rows("vdm-8", (...of) => vdmSampling(vdm8, ...of)),
    ...rows("vdm-32", (...of) => vdmSampling(vdm32, ...of)),
    ...rows("guided-14,7", (...of) => guidedSampling([14, 7], ...of)),
    ...rows("guided-16,8", (...of) => guidedSampling([16, 8], ...of)),
    "sampling/vcd/ancestral": vcdSampling,
  },
  ...{ launches: ["eager"], halfSidesOnCuda: ["tuned"] },
  ...{ rounds: 5, warmUp: 1 },
});
