/** The batches of an evaluation as work to be profiled. */
import type { ImageModel } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { type FloatDtype, scope } from "../torch/index.js";
import { openSplit, readBatch } from "./experiment.js";
import type { MeasureRequest } from "./metric.js";
import { metricNamed } from "./metrics.js";
import { type Profile, profileWork } from "./profile.js";
import { checkFitted } from "./profile-sampling.js";
import type { Trained } from "./trained.js";
import type { Piece } from "./work.js";

/** The metrics that judge images of a split as they are; others draw samples, or lead images back, step by step. */
const profiled: readonly string[] = ["bpd", "nll", "accuracy"];

/** Measures a few batches, keeping nothing. @throws UserError for other metrics, and as they and `profileWork` do */
export async function profileEvaluation(
  trained: Trained<ImageModel>,
  metrics: readonly string[],
  request: MeasureRequest,
): Promise<Profile> {
  const [metric = "", ...more] = metrics;
  if (more.length > 0 || !profiled.includes(metric))
    throw new UserError(
      `expected one metric of ${profiled.join(", ")} with --profile, got ${metrics.join(", ")}: name it with --metrics; steps of a sampler are profiled by "varidiff sample --profile"`,
    );
  checkFitted(trained);
  const { system, config } = trained;
  const { pieces, measure, machine: own } = await metricNamed(metric)(trained, request);
  const machine = { ...trained.machine, precision: own.precision as FloatDtype };
  const whole = pieces.filter(({ weight }) => weight > 0); // of nll the solves, not the bound that is beside them
  const batches = cycle(whole);
  const readings = cycle(whole);
  const source = await openSplit(config, request.split ?? config.data.evaluationSplit);
  return profileWork({
    ...{ system, machine, kind: "inference", unit: "image passes", step: "batch", warmUp: 1 },
    name: `evaluation of ${metric}, batches of ${whole[0]?.weight ?? 0}`,
    async take() {
      const piece = batches();
      await measure(piece, {});
      return { units: piece.weight, steps: 1 };
    },
    read: () => scope(() => void readBatch(source, readings().indices, { config, device: machine.device })),
  });
}

/** One after another, and from the beginning again. */
function cycle(pieces: readonly Piece[]): () => Piece {
  let next = 0;
  return () => {
    const piece = pieces[next++ % pieces.length];
    if (!piece) throw new Error("expected something to measure");
    return piece;
  };
}
