/** The parts of the set-up that only a clone of the repository needs: npm's packages and the TypeScript build. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { packageRoot } from "./locate.js";
import { run } from "./run.js";
import { SetupError } from "./setup-error.js";

/** @import { Reporter } from "./report.js" */

/**
 * `npm ci` where `node_modules` is not what `package-lock.json` asks for.
 * @param {Reporter} report
 * @param {string} [root]
 * @throws {SetupError} with npm's own complaint
 */
export async function installDependencies(report, root = packageRoot) {
  if (dependenciesAreCurrent(root)) return;
  await report.step("installing the npm dependencies", async () => {
    const ended = await run("npm", ["ci", "--include=dev", "--no-audit", "--no-fund"], { cwd: root });
    if (ended.code === 0) return;
    const complaints = ended.output.split("\n").filter((line) => /^npm (error|ERR!) \S/.test(line));
    throw new SetupError(`npm ci failed:\n  ${complaints.slice(0, 6).join("\n  ") || ended.output.trim()}`);
  });
}

/**
 * `tsc` where a source or a setting differs from those of the last build in `dist/`.
 * @param {Reporter} report
 * @param {string} [root]
 * @throws {SetupError} with the first compile errors
 */
export async function buildTypeScript(report, root = packageRoot) {
  const stamp = path.join(root, "build", "tsc.sha256");
  const digest = sourcesDigest(root);
  const dist = path.join(root, "dist");
  const isBuilt = fs.existsSync(dist);
  if (isBuilt && fs.existsSync(stamp) && fs.readFileSync(stamp, "utf8") === digest) return;
  // Without this, tsc would believe that what was deleted is still there.
  if (!isBuilt) fs.rmSync(path.join(root, "build", "tsc.tsbuildinfo"), { force: true });
  const tsc = path.join(root, "node_modules", "typescript", "bin", "tsc");
  await report.step("compiling the TypeScript sources", async () => {
    const ended = await run(process.execPath, [tsc, "-p", "tsconfig.build.json"], { cwd: root });
    if (ended.code === 0) return;
    throw new SetupError(`tsc failed:\n  ${ended.stdout.trim().split("\n").slice(0, 10).join("\n  ")}`);
  });
  fs.mkdirSync(path.dirname(stamp), { recursive: true });
  fs.writeFileSync(stamp, digest);
}

/**
 * Whether npm's own record of what it installed has every package of the lock in the locked version. (Optional packages
 * are left out: most of them are for other platforms.)
 * @param {string} root
 */
function dependenciesAreCurrent(root) {
  const installed = path.join(root, "node_modules", ".package-lock.json");
  if (!fs.existsSync(installed)) return false;
  const wanted = readLock(path.join(root, "package-lock.json"));
  const have = readLock(installed);
  return Object.entries(wanted).every(
    ([name, { version, optional }]) => name === "" || optional || have[name]?.version === version,
  );
}

/**
 * @param {string} file
 * @returns {Record<string, { readonly version?: string, readonly optional?: boolean } | undefined> & Record<string, { readonly version?: string, readonly optional?: boolean }>}
 */
function readLock(file) {
  return JSON.parse(fs.readFileSync(file, "utf8")).packages;
}

/** @param {string} root */
function sourcesDigest(root) {
  const sources = fs
    .readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(ts|js)$/.test(name))
    .map((name) => path.join("src", name))
    .sort();
  const digest = createHash("sha256");
  for (const name of ["package-lock.json", "tsconfig.json", "tsconfig.build.json", ...sources]) {
    digest
      .update(name)
      .update("\0")
      .update(fs.readFileSync(path.join(root, name)))
      .update("\0");
  }
  return digest.digest("hex");
}
