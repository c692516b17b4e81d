/** Dormand and Prince's Runge-Kutta pair of order 5(4) with adaptive steps, step for step that of SciPy's `RK45`. */
import { setImmediate as turn } from "node:timers/promises";
import { UserError } from "../../errors.js";
import { noGrad, scope, type Tensor } from "../../torch/index.js";

/** Several float64 tensors that are one vector to the solver. */
export type State = readonly Tensor[];

/** `dy/dt` at one time: a tensor for each of the state's, of its shape and any float dtype. */
export type Derivative = (t: number, y: State) => State;

/** Where a solve stands after a step. */
export interface StepReport {
  readonly t: number;
  /** Of the derivative, so far. */
  readonly evaluations: number;
}

export interface SolveOptions {
  readonly t0: number;
  /** Before or after `t0`. */
  readonly t1: number;
  /** Left to the caller. */
  readonly y0: State;
  /** Error allowed in a step, relative to each element. */
  readonly rtol: number;
  /** Error allowed in a step, added to the relative one. */
  readonly atol: number;
  /** Called after every accepted step. */
  onStep?(report: StepReport): void;
  /** Stops between two steps. */
  readonly signal?: AbortSignal | undefined;
}

/** What a solve took. */
export interface SolveCost {
  /** Of the derivative: 2 to choose the first step, and 6 for each accepted or rejected step. */
  readonly evaluations: number;
  readonly accepted: number;
  readonly rejected: number;
  /** `t0`, and the end of every accepted step. */
  readonly times: readonly number[];
}

export interface Solution extends SolveCost {
  /** The state at `t1`, the caller's to dispose of. */
  readonly y: State;
}

// J. R. Dormand and P. J. Prince, A family of embedded Runge-Kutta formulae, J. Comp. Appl. Math. 6 (1980), table 2.
const stages: readonly { readonly c: number; readonly a: readonly number[] }[] = [
  { c: 1 / 5, a: [1 / 5] },
  { c: 3 / 10, a: [3 / 40, 9 / 40] },
  { c: 4 / 5, a: [44 / 45, -56 / 15, 32 / 9] },
  { c: 8 / 9, a: [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729] },
  { c: 1, a: [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656] },
];
const b = [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84];
/** Fifth order less fourth: weights of the error. */
const e = [-71 / 57600, 0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40];

const safety = 0.9;
const leastFactor = 0.2;
const mostFactor = 10;
/** The error of the fourth-order formula grows like the fifth power of the step. */
const errorExponent = -1 / 5;

/** `sum_s w_s k_s` of each tensor of the state, times h. */
function increment(k: readonly State[], weights: readonly number[], h: number): Tensor[] {
  return scope(() => {
    const sums: Tensor[] = [];
    for (const [s, slopes] of k.entries()) {
      const w = weights[s] ?? 0;
      if (w === 0) continue;
      for (const [i, slope] of slopes.entries()) {
        const term = slope.mul(w);
        sums[i] = sums[i]?.add(term) ?? term;
      }
    }
    return sums.map((sum) => sum.mul(h));
  });
}

const add = (y: State, dy: State): Tensor[] => y.map((v, i) => v.add(dy[i] as Tensor));

/** Root mean square of `values / scale` over all elements of all tensors. */
function norm(values: State, scale: State): number {
  const squares = values.map((v, i) =>
    v
      .div(scale[i] as Tensor)
      .square()
      .sum(),
  );
  const size = values.reduce((sum, v) => sum + v.size, 0);
  return Math.sqrt(squares.reduce((sum, v) => sum.add(v)).item() / size);
}

/**
 * The first step's length, from the sizes of y, y' and y'' (Hairer, Norsett and Wanner, section II.4). As in SciPy
 * before its pull request 17348, y'' may be taken from a time beyond t1; where the derivative is not finite there, the
 * step is 1e-6.
 */
function firstStep(f: Derivative, k: State, { t0, t1, y0, rtol, atol }: SolveOptions): number {
  const direction = Math.sign(t1 - t0);
  const scale = y0.map((y) => y.abs().mul(rtol).add(atol));
  const d0 = norm(y0, scale);
  const d1 = norm(k, scale);
  if (!Number.isFinite(d0) || !Number.isFinite(d1))
    throw new UserError(
      `expected a state and derivative of finite numbers at t = ${t0}, got others: the model cannot be integrated`,
    );
  const h0 = d0 < 1e-5 || d1 < 1e-5 ? 1e-6 : (0.01 * d0) / d1;
  const next = f(t0 + h0 * direction, add(y0, increment([k], [1], h0 * direction)));
  const change = next.map((v, i) => v.sub(k[i] as Tensor));
  const d2 = norm(change, scale) / h0;
  if (!Number.isFinite(d2)) return 1e-6;
  const h1 = d1 <= 1e-15 && d2 <= 1e-15 ? Math.max(1e-6, h0 * 1e-3) : (0.01 / Math.max(d1, d2)) ** (1 / 5);
  return Math.min(100 * h0, h1);
}

/** One step from t to `t + h`: the state and slope there, and the error's norm, below 1 where it is allowed. */
function attempt(
  f: Derivative,
  from: { readonly t: number; readonly y: State; readonly k: State },
  to: { readonly t: number },
  { rtol, atol }: SolveOptions,
): { y: State; k: State; error: number } {
  const h = to.t - from.t;
  const k = [from.k];
  for (const { c, a } of stages) k.push(f(from.t + c * h, add(from.y, increment(k, a, h))));
  const y = add(from.y, increment(k, b, h));
  const last = f(to.t, y);
  k.push(last);
  const scale = y.map((v, i) =>
    v
      .abs()
      .maximum((from.y[i] as Tensor).abs())
      .mul(rtol)
      .add(atol),
  );
  return { y, k: last, error: norm(increment(k, e, h), scale) };
}

const dispose = (...states: readonly State[]): void => {
  for (const tensor of states.flat()) tensor.dispose();
};

/**
 * Solves `dy/dt = f(t, y)` from `t0` to `t1`. The error of a step, `h sum_s e_s k_s / (atol + rtol max(|y|, |y_new|))`,
 * is measured by its root mean square over the whole state: the batch shares its steps. No graph is recorded unless
 * the derivative does so itself. Gives the event loop a turn after every step.
 *
 * @throws the signal's reason when it aborts; Error where the derivative is not finite at `t0`, or where no step is
 * small enough
 */
export async function solve(derivative: Derivative, options: SolveOptions): Promise<Solution> {
  const { t0, t1, signal } = options;
  const direction = Math.sign(t1 - t0);
  let evaluations = 0;
  // `to` makes a handle of the solver's own, also of a tensor that the caller keeps.
  const owned = (state: State): State => state.map((v) => v.to("float64"));
  const f: Derivative = (t, y) => {
    evaluations++;
    return scope(() => owned(derivative(t, y)));
  };
  const inScope = <R>(run: () => R): R => noGrad(() => scope(run));

  const times = [t0];
  let rejected = 0;
  let t = t0;
  let { y, k } = inScope(() => {
    const start = owned(options.y0);
    return { y: start, k: f(t0, start) };
  });
  try {
    let size = inScope(() => firstStep(f, k, { ...options, y0: y }));
    let afterRejection = false;
    while (t !== t1) {
      signal?.throwIfAborted();
      const smallest = 10 * Number.EPSILON * Math.max(Math.abs(t), Math.abs(t1 - t0));
      if (afterRejection && size < smallest)
        throw new UserError(
          `the ODE cannot be solved beyond t = ${t}, a step of ${size} is still too long: raise its tolerances`,
        );
      const next = t + Math.max(size, smallest) * direction;
      const end = (next - t1) * direction > 0 ? t1 : next;
      const trial = inScope(() => attempt(f, { t, y, k }, { t: end }, options));
      size = Math.abs(end - t);
      if (trial.error < 1) {
        dispose(y, k);
        ({ y, k } = trial);
        t = end;
        times.push(t);
        const growth = trial.error === 0 ? mostFactor : safety * trial.error ** errorExponent;
        size *= Math.min(afterRejection ? 1 : mostFactor, growth);
        afterRejection = false;
        options.onStep?.({ t, evaluations });
      } else {
        dispose(trial.y, trial.k);
        // An error that is not a number says that the trial left the finite numbers: the step was far too long.
        const shrink = Number.isNaN(trial.error) ? leastFactor : safety * trial.error ** errorExponent;
        size *= Math.max(leastFactor, shrink);
        afterRejection = true;
        rejected++;
      }
      await turn();
    }
  } catch (error) {
    dispose(y);
    throw error;
  } finally {
    dispose(k);
  }
  return { y, evaluations, accepted: times.length - 1, rejected, times };
}
