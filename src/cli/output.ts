/** What every command shares: the result on stdout, one line for a user's mistake, and the exit code. */
import { type Command, CommanderError } from "commander";
import { UserError } from "../errors.js";
import { outOfMemory } from "./out-of-memory.js";

/** sysexits.h, EX_SOFTWARE: a defect, as distinct from a user's mistake (1). */
const DEFECT = 70;

/**
 * Writes a command's result to stdout: with `--json` exactly one JSON document, in which NaN and the infinities are
 * null; else the text for people.
 */
export function emit(
  result: unknown,
  options: { readonly json?: boolean | undefined; readonly text: () => string },
): void {
  const text = options.json ? JSON.stringify(result, null, 2) : options.text();
  process.stdout.write(text.endsWith("\n") || text === "" ? text : `${text}\n`);
}

/**
 * Runs the command that `argv` (without node and script) asks for, and sets the exit code: what a user can mend is
 * one line `varidiff: ...` on stderr, anything else is a defect with its stack. `program` may still be loading.
 */
export async function runMain(program: Command | Promise<Command>, argv: readonly string[]): Promise<void> {
  survivePipes();
  try {
    const ready = await program;
    prepare(ready);
    await ready.parseAsync(argv, { from: "user" });
  } catch (error) {
    process.exitCode = report(error);
  }
}

/** commander throws instead of exiting, and leaves its messages to `report`; for every command below too. */
function prepare(command: Command): void {
  command.exitOverride().configureOutput({ outputError: () => {} });
  for (const child of command.commands) prepare(child);
}

/** Says on stderr what went wrong; the exit code. */
function report(error: unknown): number {
  const mistake = error instanceof UserError ? error : outOfMemory(error);
  if (mistake) {
    complain(mistake.message);
    return mistake.exitCode;
  }
  if (error instanceof CommanderError) {
    if (error.message.startsWith("error: ")) complain(inOurWords(error.message));
    return error.exitCode;
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  complain(`${stack}\nthis is a defect in varidiff: please report it with the lines above and the command`);
  return DEFECT;
}

function complain(message: string): void {
  process.stderr.write(`varidiff: ${message}\n`);
}

/** `error: unknown option '--jsno'\n(Did you mean --json?)` in the form of all our messages. */
function inOurWords(message: string): string {
  return message
    .replace(/^error: /, "")
    .replace(/\n?\(Did you mean (?:one of )?(.*?)\?\)/, ": did you mean $1?")
    .replaceAll("'", '"')
    .replace(/\s*\n\s*/g, "; ");
}

/** A reader of stdout that has seen enough ends the command quietly; one of stderr only ends the story. */
function survivePipes(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit();
  });
  process.stderr.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}
