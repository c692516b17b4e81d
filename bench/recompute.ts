/** Training steps whose activations are computed again for the gradient, against the same that keep them all. */
import type { Recompute } from "varidiff/diffusion";
import { type FloatDtype, setThreads } from "varidiff/torch";
import type { Benchmark, Measurement } from "./benchmark.js";
import { isApart, measuredApart } from "./comparison-benchmark.js";
import { GuidedProblem } from "./guided-problem.js";
import { interleave, timed } from "./interleave.js";
import { peakMemory, processorTime, resetPeakMemory } from "./process-use.js";
import type { StepProblem } from "./step-problem.js";
import { VdmProblem, vdm32 } from "./vdm-problem.js";

const threads = 1;
const rounds = 3;

const problems: Readonly<Record<string, () => StepProblem>> = {
  "vdm-32-batch-16": () => new VdmProblem(vdm32),
  "guided-14,7-batch-64": () => new GuidedProblem({ attentionResolutions: [14, 7], batch: 64 }),
};

interface Row {
  readonly name: string;
  readonly problem: () => StepProblem;
  readonly precision: FloatDtype;
}

const rows: readonly Row[] = Object.entries(problems).flatMap(([name, problem]) =>
  (["bfloat16", "float32"] as const).map((precision) => ({
    ...{ name: `recompute/${name}/${precision}`, problem, precision },
  })),
);

/** Ours is the step that computes again: its ratio of images a second is below 1, that of the memory above. */
async function measured({ name, problem: make, precision }: Row): Promise<Measurement> {
  setThreads(threads);
  const problem = make();
  const peakOf = (recompute: Recompute) => {
    for (let i = 0; i < 2; i++) problem.step(precision, recompute); // the first makes the optimiser's state
    return peakMemory(process.pid);
  };
  resetPeakMemory(process.pid);
  // In this order: memory that was used once stays with the process.
  const memory = { ours: peakOf("levels"), theirs: peakOf("none") };
  const processor = { ours: 0, theirs: 0 };
  const turn = async (side: keyof typeof processor, recompute: Recompute) => {
    const before = processorTime(process.pid);
    const seconds = await timed(() => problem.step(precision, recompute));
    processor[side] += (processorTime(process.pid) - before) / rounds;
    return seconds;
  };
  const found = await interleave(
    () => turn("ours", "levels"),
    () => turn("theirs", "none"),
    { rounds, warmUp: 0 },
  );
  const batch = problem.pixels.dim(0);
  problem.dispose();
  const { ours, theirs, ...ratios } = found;
  return {
    ...{ name, ours: batch / ours, theirs: theirs === null ? null : batch / theirs, ...ratios },
    ...{ unit: "images/s", memory, processor },
  };
}

export const recompute: Benchmark = async (say, wanted) => {
  const chosen = rows.filter(({ name }) => wanted(name));
  const [only] = chosen;
  if (!only || chosen.length > 1 || !isApart(threads))
    return chosen.map(({ name }) => measuredApart(name, threads));
  say(only.name);
  return [await measured(only)];
};
