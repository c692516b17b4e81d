/** Compiles the C++ bridge against a libtorch with g++ alone, and remembers which addon is the current one. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { cudaHeaders } from "./cuda-headers.js";
import { compareVersions } from "./libtorch.js";
import { builtAddon, nativeBuildFolders, packageRoot } from "./locate.js";
import { createReporter } from "./report.js";
import { run } from "./run.js";
import { SetupError } from "./setup-error.js";

/** @import { Libtorch } from "./libtorch.js" */
/** @import { BuiltAddon } from "./locate.js" */
/** @import { Reporter } from "./report.js" */

/** Compilers at a time: each takes up to 0.8 GB. */
const maxCompilers = 2;

/** The kernels' loops vectorise at -O3 only. Without -fopenmp, libtorch's parallel loops would be silently serial. */
const codeFlags =
  "-O3 -fPIC -fexceptions -frtti -fvisibility=hidden -fopenmp -fno-math-errno -fno-trapping-math";

/**
 * NAPI_VERSION_EXPERIMENTAL: finalizers run inside the collector. At any numbered version they wait for the event loop,
 * and a synchronous loop that forgets its tensors would keep them all.
 */
const experimentalNodeApi = 2147483647;

/**
 * @typedef {object} BuildOptions
 * @property {string} [root] the package's folder, which holds `native/` and `node_modules/`
 * @property {readonly string[]} [folders] where builds may lie; the first writable one is used
 * @property {Reporter} [report] silent where nothing is to do
 */

/**
 * Builds every `.cc` file of `native/` and of its folders into `<folder>/<key>/varidiff.node` and makes it the current
 * addon. Nothing is compiled where the sources, the flags, the compiler and libtorch are those of an earlier build.
 * @param {Libtorch} libtorch
 * @param {BuildOptions} [options]
 * @returns {Promise<BuiltAddon>}
 * @throws {SetupError} where g++ is missing or refuses a file; names the log with all of its messages
 */
export async function buildBridge(libtorch, { root = packageRoot, folders, report = createReporter() } = {}) {
  const compiler = await compilerVersion();
  const sources = nativeFiles(root, ".cc");
  if (sources.length === 0)
    throw new SetupError(`expected C++ sources in ${path.join(root, "native")}, found none`);
  const compileFlags = flagsFor(libtorch, compiler, root);
  const linkFlags = linkFlagsFor(libtorch);
  const common = hash(compiler, ...compileFlags, libtorch.version, ...nativeFiles(root, ".h").map(readText));
  const units = sources.map((source) => ({
    source,
    key: hash(common, path.basename(source), readText(source)),
  }));
  const key = hash(...units.map((unit) => unit.key), ...linkFlags).slice(0, 16);

  const candidates = folders ?? nativeBuildFolders(root);
  const built = builtAddon(candidates);
  if (built?.key === key) return built;

  const folder = firstWritable(candidates);
  const target = path.join(folder, key);
  const addon = path.join(target, "varidiff.node");
  if (!fs.existsSync(addon)) {
    const objects = path.join(folder, "objects");
    const pending = units.filter((unit) => !fs.existsSync(path.join(objects, `${unit.key}.o`)));
    fs.mkdirSync(objects, { recursive: true });
    fs.mkdirSync(target, { recursive: true });
    const log = path.join(target, "build.log");
    fs.writeFileSync(log, "");
    const files = `${pending.length} C++ ${pending.length === 1 ? "file" : "files"}`;
    await report.step(
      `compiling ${files} against libtorch ${libtorch.version} (${libtorch.source})`,
      async () => {
        await eachOf(pending, maxCompilers, ({ source, key: name }) =>
          compile([...compileFlags, "-c", source], path.join(objects, `${name}.o`), log),
        );
        await compile(
          [...units.map((unit) => path.join(objects, `${unit.key}.o`)), ...linkFlags],
          addon,
          log,
        );
      },
    );
  }
  const { version, source, root: libtorchRoot } = libtorch;
  const current = {
    addon: path.join(key, "varidiff.node"),
    key,
    libtorch: { version, source, root: libtorchRoot },
  };
  writeAtomically(
    path.join(folder, "current.json"),
    `${JSON.stringify({ ...current, compiler, builtAt: new Date().toISOString() }, null, 2)}\n`,
  );
  const result = builtAddon([folder]);
  if (!result) throw new Error(`the build left no addon in ${folder}`);
  return result;
}

/**
 * The version of g++.
 * @returns {Promise<string>}
 * @throws {SetupError} where there is none
 */
export async function compilerVersion() {
  const ended = await run("g++", ["-dumpfullversion", "-dumpversion"]);
  if (ended.code !== 0)
    throw new SetupError("g++ is needed to build the bridge and was not found: install g++");
  return ended.stdout.trim();
}

/**
 * @param {Libtorch} libtorch
 * @param {string} compiler
 * @param {string} root
 * @returns {string[]}
 */
function flagsFor(libtorch, compiler, root) {
  const { include_dir: nodeHeaders } = createRequire(path.join(root, "package.json"))("node-api-headers");
  const newHeaders = compareVersions(libtorch.version, "2.10") >= 0 && compareVersions(compiler, "10") >= 0;
  const cuda = cudaHeaders(libtorch);
  return [
    newHeaders ? "-std=c++20" : "-std=c++17",
    ...codeFlags.split(" "),
    `-DNAPI_VERSION=${experimentalNodeApi}`,
    `-D_GLIBCXX_USE_CXX11_ABI=${libtorch.cxx11Abi}`,
    ...[path.join(root, "native"), nodeHeaders, ...libtorch.includes].map((folder) => `-I${folder}`),
    ...(cuda === undefined ? [] : ["-DVARIDIFF_CUDA", `-I${cuda}`]),
  ];
}

/**
 * One OpenMP runtime in the process: the one that a wheel or archive brings with it where there is one, else g++'s.
 * @param {Libtorch} libtorch
 * @returns {string[]}
 */
function linkFlagsFor({ libDirs, cuda }) {
  const names = libDirs.flatMap((folder) => fs.readdirSync(folder).map((name) => path.join(folder, name)));
  const bundledOpenMp = names.find((file) => /^libgomp(-\w+)?\.so\.1$/.test(path.basename(file)));
  const has = (/** @type {string} */ library) =>
    names.some((file) => path.basename(file) === `lib${library}.so`);
  const cudaLibraries = cuda === null ? [] : ["torch_cuda", "c10_cuda"].filter(has);
  return [
    "-shared",
    ...libDirs.flatMap((folder) => [`-L${folder}`, `-Wl,-rpath,${folder}`]),
    "-Wl,--no-as-needed",
    ...["torch", "torch_cpu", "c10", ...cudaLibraries].map((library) => `-l${library}`),
    bundledOpenMp ?? "-lgomp",
  ];
}

/**
 * @param {readonly string[]} args
 * @param {string} output
 * @param {string} log
 */
async function compile(args, output, log) {
  const unfinished = `${output}.${process.pid}`;
  const ended = await run("g++", [...args, "-o", unfinished], { env: { ...process.env, LC_ALL: "C" } });
  fs.appendFileSync(log, `g++ ${[...args, "-o", output].join(" ")}\n${ended.output}\n`);
  if (ended.code === 0) return fs.renameSync(unfinished, output);
  fs.rmSync(unfinished, { force: true });
  const lines = ended.output.split("\n");
  const errors = lines
    .filter((line) => / error: |undefined reference|cannot find -l|Killed/.test(line))
    .slice(0, 5);
  const killed = ended.output.includes("Killed") ? " (is there 1 GB of free memory for each compiler?)" : "";
  const shown = (errors.length > 0 ? errors : lines.slice(0, 5)).join("\n  ");
  throw new SetupError(`g++ failed${killed}; all of its messages are in ${log}, the first are:\n  ${shown}`);
}

/**
 * The files with this ending in `native/` and its folders, sorted.
 * @param {string} root
 * @param {string} ending
 */
function nativeFiles(root, ending) {
  const folder = path.join(root, "native");
  const entries = fs.existsSync(folder) ? fs.readdirSync(folder, { withFileTypes: true }) : [];
  const folders = [
    folder,
    ...entries.filter((entry) => entry.isDirectory()).map((entry) => path.join(folder, entry.name)),
  ];
  return folders
    .flatMap((one) => fs.readdirSync(one).map((name) => path.join(one, name)))
    .filter((file) => file.endsWith(ending))
    .sort();
}

/**
 * @template T
 * @param {readonly T[]} items
 * @param {number} workers
 * @param {(item: T) => Promise<void>} work
 */
async function eachOf(items, workers, work) {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
      await work(item).catch((error) => {
        queue.length = 0;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: workers }, worker));
}

/** @param {readonly string[]} folders */
function firstWritable(folders) {
  const problems = [];
  for (const folder of folders) {
    try {
      fs.mkdirSync(folder, { recursive: true });
      fs.accessSync(folder, fs.constants.W_OK);
      return folder;
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new SetupError(`no folder for the native build can be written: ${problems.join("; ")}`);
}

/**
 * @param {string} file
 * @param {string} text
 */
function writeAtomically(file, text) {
  const unfinished = `${file}.${process.pid}`;
  fs.writeFileSync(unfinished, text);
  fs.renameSync(unfinished, file);
}

/** @param {string} file */
function readText(file) {
  return fs.readFileSync(file, "utf8");
}

/** @param {readonly string[]} parts */
function hash(...parts) {
  const digest = createHash("sha256");
  for (const part of parts) digest.update(`${part.length}:`).update(part);
  return digest.digest("hex");
}
