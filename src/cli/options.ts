/** What commands share: how options are read, and how a signal stops long work. */
import { InvalidArgumentError } from "commander";

/** Collects `--set` options. */
export function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

/** A whole number of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < least)
      throw new InvalidArgumentError(`expected a whole number from ${least}`);
    return value;
  };
}

/** A number inside (0, 1). */
export function fraction(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError("expected a number between 0 and 1");
  return value;
}

/** Ctrl-C and SIGTERM end the work at its next safe place; a second one at once. */
export function interruptible(): {
  readonly signal: AbortSignal;
  caught(): NodeJS.Signals | undefined;
  release(): void;
} {
  const controller = new AbortController();
  let caught: NodeJS.Signals | undefined;
  const onSignal = (signal: NodeJS.Signals) => {
    if (caught) process.exit(exitCodeOf(signal));
    caught = signal;
    controller.abort(new Error(`interrupted by ${signal}`));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return {
    signal: controller.signal,
    caught: () => caught,
    release() {
      process.off("SIGINT", onSignal);
      process.off("SIGTERM", onSignal);
    },
  };
}

/** What a shell expects of a process that a signal ended. */
export function exitCodeOf(signal: NodeJS.Signals): number {
  return signal === "SIGTERM" ? 143 : 130;
}
