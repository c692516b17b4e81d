/** What a call of an operator costs beyond the arithmetic: tensors of four numbers, in scopes of a hundred calls. */
import { full, profile, scope, setThreads, type Tensor } from "varidiff/torch";
import type { Benchmark, Measurement } from "./benchmark.js";
import { interleave, timed } from "./interleave.js";
import { Python } from "./python.js";
import { fashion, VdmProblem } from "./vdm-problem.js";

const callsPerScope = 100;
const scopes = 100;

/** The names are those of bench/python/op_overhead.py. */
function operators(): Record<string, () => Tensor> {
  const a = full([4], 1.5).keep();
  const b = full([4], 2.5).keep();
  const w = full([4], 0.5).requireGrad().keep();
  return {
    add: () => a.add(b),
    mul: () => a.mul(b),
    sum: () => a.sum(),
    "add-autograd": () => w.add(b),
    "mul-autograd": () => w.mul(b),
    "sum-autograd": () => w.sum(),
  };
}

/**
 * What the calls of a step would cost were each a call on four numbers, in percent of the step. Operators that others
 * call inside libtorch are counted too, so the true share is smaller.
 */
async function shareOfStep(secondsPerCall: number): Promise<Measurement> {
  const problem = new VdmProblem(fashion);
  for (let i = 0; i < 2; i++) problem.step("float32");
  let seconds = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3; i++) seconds = Math.min(seconds, await timed(() => problem.step("float32")));
  const { rows } = profile(() => problem.forward("float32"));
  const calls = rows.reduce((sum, row) => sum + row.calls, 0);
  problem.dispose();
  return {
    name: `op-overhead/share-of-a-training-step (${calls} calls)`,
    ours: (100 * calls * secondsPerCall) / seconds,
    theirs: null,
    ratio: null,
    spread: null,
    unit: "%",
  };
}

export const opOverhead: Benchmark = async (say, wanted) => {
  setThreads(1);
  const python = Python.start("op_overhead.py", say);
  const results: Measurement[] = [];
  let addition = 0;
  for (const [name, run] of Object.entries(operators())) {
    if (!wanted(`op-overhead/${name}`)) continue;
    say(`op-overhead: ${name}`);
    const count = callsPerScope * scopes;
    const hundred = () => {
      for (let i = 0; i < callsPerScope; i++) run();
    };
    const ours = () =>
      timed(() => {
        for (let i = 0; i < scopes; i++) scope(hundred);
      });
    const theirs = python
      ? async () => (await python.ask<{ seconds: number }>({ name, count })).seconds
      : null;
    const found = await interleave(ours, theirs, { rounds: 60, warmUp: 20 });
    const nanoseconds = 1e9 / count;
    if (name === "add") addition = found.ours / count;
    results.push({
      name: `op-overhead/${name}`,
      ours: found.ours * nanoseconds,
      theirs: found.theirs === null ? null : found.theirs * nanoseconds,
      ratio: found.ratio,
      spread: found.spread,
      unit: "ns/call",
    });
  }
  python?.stop();
  if (addition > 0) {
    say("op-overhead: share of a training step");
    results.push(await shareOfStep(addition));
  }
  return results;
};
