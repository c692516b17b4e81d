/** First part of the set-up: libtorch, a fast BLAS, g++ and the data set of the quickstart. */
import fs from "node:fs";
import { aptCommand, aptInstall } from "./apt.js";
import { selectedBlas } from "./blas.js";
import { findLibtorch, oldestLibtorch } from "./libtorch.js";
import { setupCommandLine } from "./locate.js";
import { run } from "./run.js";
import { SetupError } from "./setup-error.js";

/** @import { Libtorch, Refusal } from "./libtorch.js" */
/** @import { Reporter } from "./report.js" */

/** Where Debian's dataset-fashion-mnist puts its files. */
const fashionMnist = "/usr/share/datasets/fashion-mnist";

/**
 * A Debian package that is not there.
 * @typedef {{ readonly name: string, readonly need: "essential" | "useful" }} Missing
 */

/**
 * Finds libtorch, installing what is missing where that is possible.
 * @param {Reporter} report
 * @returns {Promise<Libtorch>}
 * @throws {SetupError} where something essential is missing and apt cannot be used; it names the one command to run
 */
export async function prepareSystem(report) {
  const before = await findLibtorch();
  const missing = await missingPackages(before.libtorch);
  if (missing.length === 0 && before.libtorch) return before.libtorch;

  const names = missing.map(({ name }) => name);
  const command = `apt-get update && apt-get install -y --no-install-recommends ${names.join(" ")}`;
  const apt = await aptCommand();
  const essential = missing.some(({ need }) => need === "essential");
  if (process.env.LIBTORCH && !before.libtorch) throw noLibtorch(before.refused, "correct or unset LIBTORCH");
  if (!apt && essential) throw noApt(before.libtorch, before.refused, command);
  if (apt) {
    await report
      .step(`installing ${names.join(" ")} with apt-get`, () => aptInstall(apt, names))
      .catch((error) => {
        if (essential) throw error;
        report.note(`${error.message}\n  going on without: ${names.join(" ")}`);
      });
  } else {
    report.note(`going on without ${names.join(" ")}; to install: ${command}`);
  }
  const after = await findLibtorch();
  if (!after.libtorch)
    throw noLibtorch(after.refused, `${setupCommandLine("--download")} fetches an official archive`);
  return after.libtorch;
}

/**
 * @param {Libtorch | undefined} libtorch
 * @returns {Promise<Missing[]>}
 */
async function missingPackages(libtorch) {
  /** @type {Missing[]} */
  const missing = [];
  const compiler = await run("g++", ["--version"]);
  if (compiler.code !== 0) missing.push({ name: "g++", need: "essential" });
  if (!libtorch) missing.push({ name: "libtorch-dev", need: "essential" });
  const blas = libtorch ? selectedBlas(libtorch).kind : "reference";
  if (blas === "reference") missing.push({ name: "libopenblas0-pthread", need: "useful" });
  if (!fs.existsSync(fashionMnist)) missing.push({ name: "dataset-fashion-mnist", need: "useful" });
  return missing;
}

/**
 * @param {readonly Refusal[]} refused
 * @param {string} advice
 */
function noLibtorch(refused, advice) {
  const looked = refused.map(({ source, reason }) => `${source}: ${reason}`).join("; ");
  return new SetupError(`no libtorch ${oldestLibtorch} or newer was found (${looked}): ${advice}`);
}

/**
 * @param {Libtorch | undefined} libtorch
 * @param {readonly Refusal[]} refused
 * @param {string} command
 */
function noApt(libtorch, refused, command) {
  if (!fs.existsSync("/usr/bin/apt-get")) {
    if (libtorch) return new SetupError("g++ is needed to build the bridge and was not found: install it");
    return noLibtorch(
      refused,
      `install g++, and libtorch with one of: pip install torch; ${setupCommandLine("--download")}`,
    );
  }
  const without = libtorch ? "" : `; or, without root: ${setupCommandLine("--download")}`;
  return new SetupError(
    `packages are missing and only root may install them: run  sudo sh -c '${command}'${without}`,
  );
}
