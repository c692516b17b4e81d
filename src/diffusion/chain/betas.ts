/** The variances beta_t that a discrete chain adds step by step. A new schedule is a function and a line in `betaSchedules`. */
import { z } from "zod";
import { UserError } from "../../errors.js";
import { choiceOf, createPart, partsOf } from "../../parts.js";

/** Steps of the schedules that publications state their ends for; others are stretched to the same total noise. */
const REFERENCE_STEPS = 1000;

/**
 * `beta_i` evenly spaced from `1000 start / T` to `1000 end / T`, i = 0 .. T - 1. The defaults are those of DAED's code;
 * Ho et al. (2020), and DAED's text, start at 1e-4. Chains of less than ten steps take a tenth of both factors' 1000
 * and ten times the start (`1/T` to `2/T`), which keeps them below 1.
 */
export function linearBetas(
  steps: number,
  { start, end = 0.02 }: { readonly start?: number | undefined; readonly end?: number | undefined } = {},
): number[] {
  const few = steps < 10;
  const stretch = (few ? REFERENCE_STEPS / 10 : REFERENCE_STEPS) / steps;
  const first = stretch * (start ?? (few ? 0.01 : 0.001));
  const last = stretch * end;
  return Array.from({ length: steps }, (_, i) =>
    i === steps - 1 ? last : first + (i * (last - first)) / (steps - 1),
  );
}

/** `beta_i = min(1 - g((i + 1) / T) / g(i / T), 0.999)`, `g(u) = cos^2(pi/2 (u + 0.008) / 1.008)` (Nichol, Dhariwal, 2021). */
export function cosineBetas(steps: number): number[] {
  const g = (u: number) => Math.cos((((u + 0.008) / 1.008) * Math.PI) / 2) ** 2;
  return Array.from({ length: steps }, (_, i) => Math.min(1 - g((i + 1) / steps) / g(i / steps), 0.999));
}

/** `linearBetas(T)` with its first element replaced by the variance of the denoiser's step (DAED's `linear_combine`). */
export function linearCombineBetas(
  steps: number,
  firstBeta: number,
  options: { readonly start?: number | undefined; readonly end?: number | undefined } = {},
): number[] {
  return [firstBeta, ...linearBetas(steps, options).slice(1)];
}

/**
 * @returns `betas`
 * @throws UserError unless there are two at least, all inside (0, 1): at 1 nothing of the image would be left to divide by
 */
export function checkBetas(betas: readonly number[]): readonly number[] {
  if (betas.length < 2)
    throw new UserError(`expected a chain of two steps or more, got ${betas.length}: ask for more`);
  const wrong = betas.findIndex((beta) => !(beta > 0 && beta < 1));
  if (wrong >= 0)
    throw new UserError(
      `expected every beta of a chain inside (0, 1), got ${betas[wrong]} at step ${wrong} of ${betas.length}: ` +
        "linear schedules have 3 to 9 or more than 20 steps",
    );
  return betas;
}

const schedule = partsOf<undefined, readonly number[]>();
const steps = (count: number) => z.number().int().min(2).max(100_000).default(count);
const variance = z.number().positive().lt(1);
/** Of a schedule of 1000 steps. */
const ends = { start: variance.optional(), end: variance.optional() };

const betaSchedules = [
  schedule("linear", { steps: steps(1000), ...ends }, ({ steps, start, end }) =>
    linearBetas(steps, { start, end }),
  ),
  schedule("cosine", { steps: steps(4000) }, ({ steps }) => cosineBetas(steps)),
  schedule(
    "linear-combine",
    { steps: steps(900), firstBeta: variance.default(0.1), ...ends },
    ({ steps, firstBeta, start, end }) => linearCombineBetas(steps, firstBeta, { start, end }),
  ),
  schedule("explicit", { betas: z.array(z.number()).min(2) }, ({ betas }) => betas),
] as const;

/** Which schedule of betas, with its options, as a config says it. */
export const betaScheduleSchema = choiceOf(betaSchedules);

export type BetaScheduleConfig = z.output<typeof betaScheduleSchema>;

/** The betas that a config names. @throws UserError where some lie outside (0, 1) */
export function createBetas(config: BetaScheduleConfig): readonly number[] {
  return checkBetas(createPart(betaSchedules, config, undefined));
}
