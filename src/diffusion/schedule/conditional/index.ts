/** Per-pixel noise schedules by name. A new one is a file and a line here. */
import { z } from "zod";
import { choiceOf, createPart, partsOf } from "../../../parts.js";
import { createSchedule, FixedLinear, type ScheduleEnds, scheduleSchema } from "../index.js";
import { MonotoneNetworkSchedule } from "./monotone.js";
import { PolynomialSchedule } from "./polynomial.js";
import type { ConditionalContext, ConditionalSchedule } from "./schedule.js";
import { SharedByPixels } from "./shared.js";
import { AffineSigmoidSchedule, SigmoidSchedule } from "./sigmoid.js";

export { type CurveEnds, fixedEnds, LearnedEnds } from "./curve.js";
export { MonotoneNetworkSchedule } from "./monotone.js";
export {
  type PolynomialCoefficients,
  PolynomialSchedule,
  polynomialCurve,
  squaredIntegral,
} from "./polynomial.js";
export { type ConditionalContext, ConditionalSchedule } from "./schedule.js";
export { meanCurve, replaced, SharedByPixels, sharedCurve } from "./shared.js";
export {
  AffineSigmoidSchedule,
  affineSigmoidCurve,
  SigmoidSchedule,
  sigmoidCoefficients,
  sigmoidCurve,
} from "./sigmoid.js";

const ends = { gammaMin: z.number().default(-13.3), gammaMax: z.number().default(5) };
const network = { ...ends, hidden: z.number().int().positive().optional() };
const fixedOrLearned = z.enum(["fixed", "learned"]).default("fixed");

const schedule = partsOf<ConditionalContext, ConditionalSchedule>();

export const conditionalSchedules = [
  schedule(
    "polynomial",
    {
      ...network,
      ends: fixedOrLearned,
      pixels: z.enum(["each", "mean"]).default("each"),
      form: z.enum(["free", "unit"]).default("free"),
      start: z.enum(["spread", "line"]).default("spread"),
    },
    (o, context) => new PolynomialSchedule({ ...context, ...o }),
  ),
  schedule("scalar-polynomial", network, (o, { latentSize, dimensions }) => {
    const hidden = o.hidden ?? dimensions;
    return new PolynomialSchedule({ ...o, latentSize, dimensions: 1, hidden, ends: "learned" });
  }),
  schedule("monotone", network, (o, context) => new MonotoneNetworkSchedule({ ...context, ...o })),
  schedule(
    "sigmoid",
    { ...network, ends: fixedOrLearned },
    (o, context) => new SigmoidSchedule({ ...context, ...o }),
  ),
  schedule("affine-sigmoid", network, (o, context) => new AffineSigmoidSchedule({ ...context, ...o })),
  schedule("linear", ends, (o) => new SharedByPixels(new FixedLinear(o))),
  schedule("shared", { schedule: scheduleSchema }, (o) => new SharedByPixels(createSchedule(o.schedule))),
] as const;

const choice = choiceOf(conditionalSchedules);

/** Where the schedule of a config starts and ends; with free or learned ends, where they are initialised. */
export function scheduleEnds(config: z.output<typeof choice>): ScheduleEnds {
  return config.kind === "shared" ? config.schedule : config;
}

/** Which per-pixel schedule, with its options, as a config says it. */
export const conditionalScheduleSchema = choice.refine(
  (config) => scheduleEnds(config).gammaMin < scheduleEnds(config).gammaMax,
  { message: "expected gammaMin below gammaMax", path: ["gammaMax"] },
);

export type ConditionalScheduleConfig = z.output<typeof conditionalScheduleSchema>;

/** The schedule that a config names. */
export function createConditionalSchedule(
  config: ConditionalScheduleConfig,
  context: ConditionalContext,
): ConditionalSchedule {
  return createPart(conditionalSchedules, config, context);
}
