/** The weight of the divergence while a variational encoder is trained, and which teacher its model has by then. */

/**
 * The weight at training step n, from 0, when it is raised over `annealing` = N steps: with
 * `g(j) = cos^2(pi/2 (j / (N - 1) + 0.008) / 1.008)`, `1 - g(0)` for the first floor(N / 3) steps, then `1 - g(j)`,
 * j = 0 .. N - 1, then 1. Always 1 where N is 0.
 */
export function klWeight(step: number, annealing: number): number {
  const j = Math.max(step - warmupOf(annealing), 0);
  if (j >= annealing) return 1;
  const u = annealing === 1 ? 1 : j / (annealing - 1);
  return 1 - Math.cos((((u + 0.008) / 1.008) * Math.PI) / 2) ** 2;
}

/** Steps before the weight begins to rise. */
function warmupOf(annealing: number): number {
  return Math.floor(annealing / 3);
}

export const teacherCounters = ["official", "plain"] as const;

/**
 * What the teacher's age is counted by, at training step n: `plain`, n; `official`, the counter of the annealing, which begins
 * again when its weight begins to rise, and stands still where there is no annealing.
 */
export function teacherAge(
  step: number,
  o: { readonly annealing: number; readonly counter: (typeof teacherCounters)[number] },
): number {
  if (o.counter === "plain") return step;
  if (o.annealing === 0) return 0;
  const warmup = warmupOf(o.annealing);
  return step < warmup ? step : step - warmup;
}
