/** The one error class of the whole project for mistakes a user can mend. */

/**
 * A mistake in a config, a flag, a file or the machine's set-up: one line that says what was expected, what came
 * and what to do. The command line prints its message alone and exits with `exitCode`; anything else that is thrown
 * is a defect and keeps its stack.
 */
export class UserError extends Error {
  readonly exitCode: number;
  constructor(message: string, options: { readonly exitCode?: number; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "UserError";
    this.exitCode = options.exitCode ?? 1;
  }
}
