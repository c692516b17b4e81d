/** Progress of the set-up on stderr: what it does, and how long that took. */

/**
 * Writes a line before the work and its time after it; on a terminal, `progress` shows a word in between.
 * @typedef {<T>(what: string, work: (progress: (text: string) => void) => Promise<T>) => Promise<T>} Step
 */

/**
 * @typedef {object} Reporter
 * @property {(text: string) => void} note one line
 * @property {Step} step
 */

/**
 * @param {{ write(text: string): unknown, readonly isTTY?: boolean }} [stream]
 * @returns {Reporter}
 */
export function createReporter(stream = process.stderr) {
  return {
    note: (text) => void stream.write(`setup: ${text}\n`),
    step: async (what, work) => {
      const line = `setup: ${what} ...`;
      stream.write(line);
      const start = performance.now();
      let shown = start;
      let outcome = "failed after";
      try {
        const result = await work((text) => {
          if (!stream.isTTY || performance.now() - shown < 200) return;
          shown = performance.now();
          stream.write(`\r${line} ${text}`);
        });
        outcome = "done in";
        return result;
      } finally {
        const seconds = ((performance.now() - start) / 1000).toFixed(1);
        stream.write(`${shown > start ? `\r\x1b[K${line}` : ""} ${outcome} ${seconds} s\n`);
      }
    },
  };
}
