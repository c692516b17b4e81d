/** Child processes for the set-up: run one to its end, with what it printed. */
import { spawn } from "node:child_process";

/**
 * @typedef {object} Ended
 * @property {number} code exit status; 127 where the program does not exist, 128 where a signal ended it
 * @property {NodeJS.Signals | null} signal
 * @property {string} stdout
 * @property {string} output stdout and stderr together, in the order in which they came
 */

/**
 * Runs `command` without a shell and waits for it. Never throws: a program that cannot be started has code 127.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ readonly cwd?: string, readonly env?: NodeJS.ProcessEnv, readonly timeoutMs?: number }} [options]
 * @returns {Promise<Ended>}
 */
export function run(command, args, { cwd, env, timeoutMs } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, timeout: timeoutMs, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
      output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text) => {
      output += text;
    });
    child.on("error", (error) =>
      resolve({ code: 127, signal: null, stdout, output: `${output}${error.message}\n` }),
    );
    child.on("close", (code, signal) => resolve({ code: code ?? 128, signal, stdout, output }));
  });
}
