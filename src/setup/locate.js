/** Where the project's own files lie, and which native addon the last build left. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

/**
 * What the last native build left, as the runtime needs it.
 * @typedef {object} BuiltAddon
 * @property {string} addon absolute path of `varidiff.node`
 * @property {string} key hash of the sources, the flags, the compiler and libtorch
 * @property {{ readonly version: string, readonly source: string, readonly root: string }} libtorch what it was linked to
 * @property {string} compiler version of g++
 * @property {string} builtAt ISO 8601
 */

/** The package's folder: `src/setup/` in a clone and `dist/setup/` in an installed package both lie two below it. */
export const packageRoot = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/**
 * Whether this is a clone of the repository: an installed package ships `dist/` and none of what builds it.
 * @param {string} [root]
 */
export function isClone(root = packageRoot) {
  return (
    fs.existsSync(path.join(root, "tsconfig.build.json")) &&
    fs.existsSync(path.join(root, "package-lock.json"))
  );
}

/** What the user types to run the set-up (with `options`, such as `--download`). */
export function setupCommandLine(options = "") {
  return `${isClone() ? `npm run setup${options && " --"}` : "npx varidiff setup"} ${options}`.trim();
}

/**
 * The user's cache folder for varidiff (`$XDG_CACHE_HOME/varidiff`, else `~/.cache/varidiff`).
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {string}
 */
export function cacheRoot(env = process.env) {
  return path.join(env.XDG_CACHE_HOME || path.join(os.homedir(), ".cache"), "varidiff");
}

/**
 * Folders that may hold native builds, in the order in which they are looked at: the package's own, then, for a
 * package folder that is not writable, one in the user's cache for this version of varidiff.
 * @param {string} [root] the package's folder
 * @returns {[string, string]}
 */
export function nativeBuildFolders(root = packageRoot) {
  const { version } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"));
  return [path.join(root, "build", "native"), path.join(cacheRoot(), "native", version)];
}

/**
 * The addon of the last successful build, or `undefined` where there is none (the set-up has not run).
 * @param {readonly string[]} [folders]
 * @returns {BuiltAddon | undefined}
 */
export function builtAddon(folders = nativeBuildFolders()) {
  for (const folder of folders) {
    const built = readCurrent(folder);
    if (built) return built;
  }
  return undefined;
}

/**
 * @param {string} folder
 * @returns {BuiltAddon | undefined}
 */
function readCurrent(folder) {
  try {
    const current = JSON.parse(fs.readFileSync(path.join(folder, "current.json"), "utf8"));
    const addon = path.join(folder, current.addon);
    return fs.existsSync(addon) ? { ...current, addon } : undefined;
  } catch {
    return undefined;
  }
}
