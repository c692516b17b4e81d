/** The error of the set-up, which runs before the TypeScript part of the project exists. */

/**
 * Something that the user has to mend before the set-up can go on: one line that says what was expected, what came
 * and what to do. The command line turns it into its own `UserError`.
 */
export class SetupError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "SetupError";
  }
}
