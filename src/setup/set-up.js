/** The whole set-up in order; each part does nothing where its work is already done. */
import { buildBridge } from "./build.js";
import { buildTypeScript, installDependencies } from "./clone.js";
import { downloadLibtorch } from "./download.js";
import { builtAddon, isClone } from "./locate.js";
import { probeAddon } from "./probe.js";
import { createReporter } from "./report.js";
import { SetupError } from "./setup-error.js";
import { prepareSystem } from "./system.js";

/** @import { Reporter } from "./report.js" */
/** @import { BuiltAddon } from "./locate.js" */

/**
 * @typedef {object} SetUpOptions
 * @property {Reporter} [report]
 * @property {{ readonly url?: string, readonly sha256?: string }} [download] fetch an official libtorch archive first
 */

/**
 * System packages, npm dependencies, the native bridge, the TypeScript build.
 * @param {SetUpOptions} [options]
 * @returns {Promise<BuiltAddon>} the bridge, which has been loaded once if it is new
 * @throws {SetupError} with what the user has to do
 */
export async function setUp({ report = createReporter(), download } = {}) {
  if (isClone()) await installDependencies(report);
  const fetched = download && (await downloadLibtorch({ ...download, report }));
  const libtorch = await prepareSystem(report);
  if (fetched && libtorch.root !== fetched) {
    report.note(
      `libtorch ${libtorch.version} of ${libtorch.source} comes first; to use the other: LIBTORCH=${fetched}`,
    );
  }
  const before = builtAddon()?.key;
  const built = await buildBridge(libtorch, { report });
  if (built.key !== before) {
    const probe = await probeAddon(built.addon);
    if ("failure" in probe) throw new SetupError(`the bridge was built, but ${probe.failure}`);
  }
  if (isClone()) await buildTypeScript(report);
  return built;
}
