/** Computations that must not meet the host: what a CUDA graph records is launched again, what JavaScript did is not. */
import { UserError } from "../errors.js";

let sealed = false;

/** Marks where host and device meet. @throws UserError inside `withoutHost` */
export function meetsHost(what: string): void {
  if (sealed)
    throw new UserError(
      `expected a computation on the device alone, got ${what}, which a CUDA graph would not repeat: train it with train.graph off`,
    );
}

/**
 * Runs what is to be recorded: a number read, a tensor made of numbers or moved between devices, and anything drawn is
 * refused there, on every device. Numbers that are handed to operators pass: they stay as they are at the recording.
 */
export function withoutHost<R>(run: () => R): R {
  const before = sealed;
  sealed = true;
  try {
    return run();
  } finally {
    sealed = before;
  }
}
