/** Noise schedules by name. A new one is a file and a line here. */
import { z } from "zod";
import { choiceOf, createPart, partsOf } from "../../parts.js";
import { FixedLinear, LearnedLinear, Polynomial10 } from "./linear.js";
import { MonotoneCode, MonotonePaper } from "./monotone.js";
import type { NoiseSchedule } from "./schedule.js";

export { FixedLinear, LearnedLinear, Polynomial10 } from "./linear.js";
export { MonotoneCode, type MonotoneOptions, MonotonePaper } from "./monotone.js";
export { type NoiseCurve, NoiseSchedule, type ScheduleEnds, type ScheduleValue } from "./schedule.js";

const ends = { gammaMin: z.number().default(-13.3), gammaMax: z.number().default(5) };
const hidden = z.number().int().positive().default(1024);

const schedule = partsOf<undefined, NoiseSchedule>();

const schedules = [
  schedule("fixed", ends, (o) => new FixedLinear(o)),
  schedule("polynomial10", ends, (o) => new Polynomial10(o)),
  schedule("learned-linear", ends, (o) => new LearnedLinear(o)),
  schedule("monotone-code", { ...ends, hidden }, (o) => new MonotoneCode(o)),
  schedule("monotone-paper", { ...ends, hidden }, (o) => new MonotonePaper(o)),
] as const;

/** Which schedule, with its options, as a config says it. */
export const scheduleSchema = choiceOf(schedules).refine(({ gammaMin, gammaMax }) => gammaMin < gammaMax, {
  message: "expected gammaMin below gammaMax",
  path: ["gammaMax"],
});

export type ScheduleConfig = z.output<typeof scheduleSchema>;

/** The schedule that a config names. */
export function createSchedule(config: ScheduleConfig): NoiseSchedule {
  return createPart(schedules, config, undefined);
}
