/** A thousand training steps of a small network: tensors alive and resident memory before and after. */
import { liveTensors, setThreads } from "varidiff/torch";
import type { Benchmark, Measurement } from "./benchmark.js";
import { VdmProblem } from "./vdm-problem.js";

const steps = 1000;
/** Until here, memory pools and compiled code grow. */
const settled = 100;

export const memory: Benchmark = async (say) => {
  setThreads(1);
  const problem = new VdmProblem({
    shape: [1, 8, 8],
    batch: 8,
    channels: 64,
    depth: 1,
    attention: "middle",
  });
  const state = () => ({ live: liveTensors(), resident: process.memoryUsage.rss() / 2 ** 20 });
  let before = state();
  for (let i = 1; i <= steps; i++) {
    problem.step("float32");
    await new Promise(setImmediate);
    if (i === settled) before = state();
    if (i % 250 === 0) say(`memory: step ${i}, ${JSON.stringify(state())}`);
  }
  const after = state();
  problem.dispose();
  const row = (name: string, ours: number, unit: string): Measurement => ({
    name: `memory/${name} from step ${settled} to ${steps}`,
    ours,
    theirs: null,
    ratio: null,
    spread: null,
    unit,
  });
  return [
    row("live tensors", after.live - before.live, "tensors"),
    row("resident size", after.resident - before.resident, "MB"),
  ];
};
