/** Where the time of a computation goes, operator by operator. */
import { native } from "./native.js";

export interface ProfileRow {
  readonly name: string;
  readonly calls: number;
  /** Self time in seconds: what the operators it calls take is theirs. */
  readonly seconds: number;
}

/** Runs `run` and reports the self time of every operator, forward and backward, the slowest first. */
export function profile<R>(run: () => R): { readonly result: R; readonly rows: readonly ProfileRow[] } {
  native().startProfile();
  let rows: ProfileRow[] = [];
  let result: R;
  try {
    result = run();
  } finally {
    rows = native()
      .stopProfile()
      .map(([name, calls, seconds]) => ({ name, calls, seconds }))
      .sort((a, b) => b.seconds - a.seconds);
  }
  return { result, rows };
}
