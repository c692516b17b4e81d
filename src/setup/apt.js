/** System packages through apt, where the machine has it and the user may install. */
import fs from "node:fs";
import { run } from "./run.js";
import { SetupError } from "./setup-error.js";

/**
 * How apt-get can be run here.
 * @returns {Promise<readonly string[] | undefined>} the words before its arguments; `undefined` where it cannot be
 */
export async function aptCommand() {
  if (!fs.existsSync("/usr/bin/apt-get")) return undefined;
  if (process.getuid?.() === 0) return ["apt-get"];
  const sudo = await run("sudo", ["-n", "true"]);
  return sudo.code === 0 ? ["sudo", "-n", "apt-get"] : undefined;
}

/**
 * Installs packages without asking and without what they merely recommend.
 * @param {readonly string[]} apt from `aptCommand`
 * @param {readonly string[]} packages
 * @throws {SetupError} with apt's own complaint
 */
export async function aptInstall(apt, packages) {
  await aptGet(apt, ["update"]);
  await aptGet(apt, ["install", "-y", "--no-install-recommends", ...packages]);
}

/**
 * @param {readonly string[]} apt
 * @param {readonly string[]} args
 */
async function aptGet([command = "apt-get", ...before], args) {
  const quiet = ["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0", "-q"];
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const ended = await run(command, [...before, ...quiet, ...args], { env });
  if (ended.code === 0) return;
  const complaints = ended.output.split("\n").filter((line) => /^(E|Err|W):/.test(line));
  const shown = (complaints.length > 0 ? complaints : ended.output.trim().split("\n").slice(-3)).slice(0, 5);
  throw new SetupError(`apt-get ${args.join(" ")} failed:\n  ${shown.join("\n  ")}`);
}
