/** Where the time of a computation goes, operator by operator. */
import { native } from "./native.js";

export interface ProfileRow {
  readonly name: string;
  readonly calls: number;
  /** Self time in seconds: what the operators it calls take is theirs. */
  readonly seconds: number;
}

/** What a computation gave, and the self time of every operator, forward and backward, the slowest first. */
export interface Profiled<R> {
  readonly result: R;
  readonly rows: readonly ProfileRow[];
}

function stop(): readonly ProfileRow[] {
  return native()
    .stopProfile()
    .map(([name, calls, seconds]) => ({ name, calls, seconds }))
    .sort((a, b) => b.seconds - a.seconds);
}

/**
 * Runs `run` and reports the self time of every operator until it returns or, where it returns a promise, until that is
 * settled. Times are the host's: those of the CPU's operators. @throws Error where a profile is being taken already
 */
export function profile<R>(run: () => Promise<R>): Promise<Profiled<R>>;
export function profile<R>(run: () => R): Profiled<R>;
export function profile<R>(run: () => R | Promise<R>): Profiled<R> | Promise<Profiled<R>> {
  native().startProfile();
  let result: R | Promise<R>;
  try {
    result = run();
  } catch (error) {
    stop();
    throw error;
  }
  if (!(result instanceof Promise)) return { result, rows: stop() };
  return result.then(
    (settled) => ({ result: settled, rows: stop() }),
    (error: unknown) => {
      stop();
      throw error;
    },
  );
}
