/** Where the time of a training step goes. */
import { type ProfileRow, profile, Streams } from "../torch/index.js";
import type { Config } from "./config.js";
import { buildModel, openSplit, prepareMachine } from "./experiment.js";
import { Trainer } from "./trainer.js";

const warmUp = 3;
const measured = 5;

export interface StepProfile {
  readonly secondsPerStep: number;
  readonly imagesPerSecond: number;
  /** Per step, the slowest first; `(outside operators)` is JavaScript, the bridge and the autograd engine. */
  readonly rows: readonly ProfileRow[];
}

/** Takes a few steps from a fresh start, with nothing written. */
export async function profileTraining(config: Config): Promise<StepProfile> {
  const machine = prepareMachine(config);
  const source = await openSplit(config, "train");
  const { system } = buildModel(config, source.shape);
  system.initialise(new Streams(config.train.seed), { device: machine.device });
  const trainer = new Trainer(config, machine, system, source);
  for (let i = 0; i < warmUp; i++) trainer.advance();
  let images = 0;
  const start = performance.now();
  const { rows } = profile(() => {
    for (let i = 0; i < measured; i++) images += trainer.advance();
  });
  const seconds = (performance.now() - start) / 1000;
  const perStep = rows.map((row) => ({
    name: row.name,
    calls: row.calls / measured,
    seconds: row.seconds / measured,
  }));
  const inside = perStep.reduce((sum, row) => sum + row.seconds, 0);
  const outside = {
    name: "(outside operators)",
    calls: 1,
    seconds: Math.max(0, seconds / measured - inside),
  };
  return {
    secondsPerStep: seconds / measured,
    imagesPerSecond: images / seconds,
    rows: [...perStep, outside].sort((a, b) => b.seconds - a.seconds),
  };
}

export function describeProfile({ secondsPerStep, imagesPerSecond, rows }: StepProfile): string {
  const lines = rows
    .slice(0, 25)
    .map(
      ({ name, calls, seconds }) =>
        `${((100 * seconds) / secondsPerStep).toFixed(1).padStart(6)} % ${(seconds * 1e3).toFixed(2).padStart(10)} ms ${calls.toFixed(0).padStart(6)} x  ${name.replace("autograd::engine::evaluate_function: ", "backward: ")}`,
    );
  return [
    `${(secondsPerStep * 1e3).toFixed(0)} ms a step, ${imagesPerSecond.toFixed(1)} images/s; self time by operator:`,
    ...lines,
  ].join("\n");
}
