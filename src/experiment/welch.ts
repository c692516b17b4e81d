/** Welch's t-test: do two sets of runs differ in mean, where their variances need not be equal? */
import jStat from "jstat";
import { estimate } from "./evaluation.js";

/** How the mean is said to differ from the baseline's. */
export const alternatives = ["less", "greater", "two-sided"] as const;
export type Alternative = (typeof alternatives)[number];

export interface Welch {
  /** Mean minus the baseline's mean. */
  readonly difference: number;
  /** Of the difference. */
  readonly standardError: number;
  readonly t: number;
  /** Welch and Satterthwaite's, rarely a whole number. */
  readonly degreesOfFreedom: number;
  /** The probability of such a t, or one further out in the direction of the alternative, were the means equal. */
  readonly p: number;
  /** The 95 % confidence interval of the difference, two-sided whatever the alternative. */
  readonly interval: readonly [low: number, high: number];
}

/** Of the interval. */
const confidence = 0.95;

/**
 * `t = (m_1 - m_0) / sqrt(e_1^2 + e_0^2)` with the standard errors of the means `e^2 = s^2 / n`, on
 * `(e_1^2 + e_0^2)^2 / (e_1^4 / (n_1 - 1) + e_0^4 / (n_0 - 1))` degrees of freedom.
 *
 * Undefined where no such test exists: with fewer than two values on a side, or no spread on either.
 *
 * Welch, "The generalization of 'Student's' problem when several different population variances are involved" (1947).
 */
export function welchTest(
  values: readonly number[],
  baseline: readonly number[],
  options: { readonly alternative: Alternative },
): Welch | undefined {
  const [one, other] = [estimate(values), estimate(baseline)];
  const [squared, otherSquared] = [one.standardError ** 2, other.standardError ** 2];
  const variance = squared + otherSquared;
  if (values.length < 2 || baseline.length < 2 || variance === 0) return undefined;
  const difference = one.mean - other.mean;
  const standardError = Math.sqrt(variance);
  const t = difference / standardError;
  const degreesOfFreedom =
    variance ** 2 / (squared ** 2 / (values.length - 1) + otherSquared ** 2 / (baseline.length - 1));
  const reach = standardError * jStat.studentt.inv((1 + confidence) / 2, degreesOfFreedom);
  return {
    ...{ difference, standardError, t, degreesOfFreedom },
    p: probability(t, degreesOfFreedom, options.alternative),
    interval: [difference - reach, difference + reach],
  };
}

/** Far tails as `cdf(-|t|)`: `1 - cdf(|t|)` would lose them. */
function probability(t: number, degreesOfFreedom: number, alternative: Alternative): number {
  const below = (at: number) => jStat.studentt.cdf(at, degreesOfFreedom);
  switch (alternative) {
    case "less":
      return below(t);
    case "greater":
      return below(-t);
    case "two-sided":
      return 2 * below(-Math.abs(t));
    default:
      return alternative satisfies never;
  }
}
