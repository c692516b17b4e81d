/** Finds a usable libtorch on this machine, and says why the others were refused. */
import fs from "node:fs";
import path from "node:path";
import { cacheRoot } from "./locate.js";
import { run } from "./run.js";

/**
 * Where a libtorch came from: the environment, the torch of a Python, Debian's packages, or our own download.
 * @typedef {"LIBTORCH" | "python3" | "/usr/bin/python3" | "debian" | "download"} LibtorchSource
 */

/**
 * @typedef {object} Libtorch
 * @property {string} root the folder that holds `include/` and `lib/`
 * @property {readonly string[]} includes
 * @property {readonly string[]} libDirs
 * @property {string} version such as `2.6.0`
 * @property {LibtorchSource} source
 * @property {0 | 1} cxx11Abi the `_GLIBCXX_USE_CXX11_ABI` it was built with
 * @property {string | null} cuda the CUDA version it was built for (`"unknown"` where it does not say), `null`: CPU only
 */

/**
 * A place that was looked at and refused.
 * @typedef {object} Refusal
 * @property {LibtorchSource} source
 * @property {string} reason
 */

/**
 * @typedef {object} SearchOptions
 * @property {NodeJS.ProcessEnv} [env]
 * @property {string} [systemRoot] the prefix that Debian's libtorch-dev installs into
 */

/** The oldest libtorch that the bridge compiles against. */
export const oldestLibtorch = "1.13";

/** Debian's name for this machine's architecture, as in `/usr/lib/<triplet>`. */
export const triplet = `${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu`;

/**
 * The first usable libtorch of: `LIBTORCH` (which, when set, is the only place looked at), the torch of `python3`,
 * the torch of `/usr/bin/python3`, Debian's `libtorch-dev`, an archive fetched by `varidiff setup --download`.
 * @param {SearchOptions} [options]
 * @returns {Promise<{ readonly libtorch: Libtorch | undefined, readonly refused: readonly Refusal[] }>}
 */
export async function findLibtorch({ env = process.env, systemRoot = "/usr" } = {}) {
  /** @type {Refusal[]} */
  const refused = [];
  for (const [source, place] of places(env, systemRoot)) {
    const at = await place();
    const outcome = "refused" in at ? at : inspect(at.root, source);
    if (!("refused" in outcome)) return { libtorch: outcome, refused };
    refused.push({ source, reason: outcome.refused });
  }
  return { libtorch: undefined, refused };
}

/**
 * @typedef {{ readonly root: string } | { readonly refused: string }} Place
 * @param {NodeJS.ProcessEnv} env
 * @param {string} systemRoot
 * @returns {[LibtorchSource, () => Place | Promise<Place>][]}
 */
function places(env, systemRoot) {
  const { LIBTORCH: root } = env;
  if (root) return [["LIBTORCH", () => ({ root })]];
  return [
    ["python3", () => torchOfPython("python3", env)],
    ["/usr/bin/python3", () => torchOfPython("/usr/bin/python3", env)],
    ["debian", () => ({ root: systemRoot })],
    ["download", () => newestDownload(env)],
  ];
}

/**
 * The folder of a Python's torch, asked for without importing it.
 * @param {string} python
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<Place>}
 */
async function torchOfPython(python, env) {
  const ask =
    'import importlib.util as u; s = u.find_spec("torch"); print(list(s.submodule_search_locations)[0] if s else "")';
  // From "/", because Python looks for modules in the current folder first.
  const ended = await run(python, ["-c", ask], { cwd: "/", env, timeoutMs: 20_000 });
  if (ended.code === 127) return { refused: `there is no ${python}` };
  const root = ended.stdout.trim();
  if (ended.code !== 0) return { refused: `${python} failed: ${ended.output.trim().split("\n").at(-1)}` };
  return root ? { root } : { refused: `${python} has no torch` };
}

/**
 * The newest version below the cache folder.
 * @param {NodeJS.ProcessEnv} env
 * @returns {Place}
 */
function newestDownload(env) {
  const folder = path.join(cacheRoot(env), "libtorch");
  const versions = fs.existsSync(folder) ? fs.readdirSync(folder).filter((name) => /^\d/.test(name)) : [];
  const newest = versions.sort(compareVersions).at(-1);
  return newest ? { root: path.join(folder, newest, "libtorch") } : { refused: `nothing in ${folder}` };
}

/**
 * Looks at one folder and reads what a build needs to know, all of it from the installation itself.
 * @param {string} root
 * @param {LibtorchSource} source
 * @returns {Libtorch | { readonly refused: string }}
 */
function inspect(root, source) {
  const include = path.join(root, "include");
  const lib = [path.join(root, "lib"), path.join(root, "lib64"), path.join(root, "lib", triplet)].find(
    (folder) => fs.existsSync(path.join(folder, "libtorch_cpu.so")),
  );
  const hasHeaders = fs.existsSync(path.join(include, "torch", "script.h"));
  if (!hasHeaders) return { refused: `${root} has no include/torch/script.h` };
  if (!lib) return { refused: `${root} has no lib/libtorch_cpu.so` };
  const version = readVersion(include);
  if (!version) return { refused: `${root} has no readable torch/version.h` };
  if (compareVersions(version, oldestLibtorch) < 0) {
    return { refused: `libtorch ${version} in ${root} is too old: ${oldestLibtorch} or newer is needed` };
  }
  const cxx11Abi = readAbi(path.join(lib, "libc10.so"));
  if (cxx11Abi === undefined) return { refused: `cannot read the C++ ABI of ${path.join(lib, "libc10.so")}` };
  const includes = [include, path.join(include, "torch", "csrc", "api", "include")];
  return { root, includes, libDirs: [lib], version, source, cxx11Abi, cuda: readCuda(root, lib) };
}

/**
 * `TORCH_VERSION` of the headers, which moved to `torch/headeronly/` in 2.9.
 * @param {string} include
 * @returns {string | undefined}
 */
function readVersion(include) {
  for (const name of ["torch/headeronly/version.h", "torch/csrc/api/include/torch/version.h"]) {
    const header = readIfThere(path.join(include, name));
    const version = /define TORCH_VERSION\s*\\?\s*"([^"]+)"/.exec(header)?.[1];
    if (version) return version;
  }
  return undefined;
}

/**
 * The ABI of std::string in libc10's own symbols: `c10::detail::torchCheckFail(..., const std::string&)` is mangled
 * with `St7__cxx11` under the new ABI and with `RKSs` under the old one. Unlike TorchConfig.cmake, which newer versions
 * no longer write it to, this cannot disagree with the library.
 * @param {string} libc10
 * @returns {0 | 1 | undefined}
 */
function readAbi(libc10) {
  if (!fs.existsSync(libc10)) return undefined;
  const library = fs.readFileSync(libc10);
  const symbol = "_ZN3c106detail14torchCheckFailEPKcS2_j";
  if (library.includes(`${symbol}RKNSt7__cxx1112basic_string`)) return 1;
  return library.includes(`${symbol}RKSs`) ? 0 : undefined;
}

/**
 * @param {string} root
 * @param {string} lib
 * @returns {string | null}
 */
function readCuda(root, lib) {
  if (!fs.existsSync(path.join(lib, "libtorch_cuda.so"))) return null;
  const ofWheel = /^cuda\b[^=]*= *['"]([\d.]+)['"]/m.exec(readIfThere(path.join(root, "version.py")))?.[1];
  const ofArchive = /\+cu(\d+)(\d)\s*$/.exec(readIfThere(path.join(root, "build-version")));
  return ofWheel ?? (ofArchive ? `${ofArchive[1]}.${ofArchive[2]}` : "unknown");
}

/** @param {string} file */
function readIfThere(file) {
  return fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
}

/**
 * Order of two versions by their leading numbers: negative where `a` is the older.
 * @param {string} a
 * @param {string} b
 * @returns {number}
 */
export function compareVersions(a, b) {
  const [left, right] = [a, b].map((text) =>
    text
      .split(/[.+-]/)
      .slice(0, 3)
      .map((part) => Number.parseInt(part, 10) || 0),
  );
  for (let i = 0; i < 3; i++) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
