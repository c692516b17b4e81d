/** Fetches an official libtorch archive, checks its SHA-256 and unpacks it into the user's cache. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { cacheRoot } from "./locate.js";
import { createReporter } from "./report.js";
import { SetupError } from "./setup-error.js";

/** @import { Reporter } from "./report.js" */

/**
 * The archive fetched where the user names none. Its checksum is the one that Open3D (`pytorch_build` of 0.19) and
 * WasmEdge (`utils/wasi-nn/install-pytorch.sh`) pin for the same file.
 */
const pinned = {
  url: "https://download.pytorch.org/libtorch/cpu/libtorch-cxx11-abi-shared-with-deps-2.5.1%2Bcpu.zip",
  sha256: "618ca54eef82a1dca46ff1993d5807d9c0deb0bae147da4974166a147cb562fa",
};

/**
 * @typedef {object} DownloadOptions
 * @property {string} [url] another archive; `sha256` must then be given
 * @property {string} [sha256] 64 hexadecimal digits
 * @property {string} [folder] where versions are unpacked to
 * @property {Reporter} [report]
 */

/**
 * Downloads an archive to `<folder>/<version>/libtorch`. Nothing is unpacked before the checksum is found right, and
 * nothing is left behind where anything fails.
 * @param {DownloadOptions} [options]
 * @returns {Promise<string>} the unpacked `libtorch` folder, which may have been there before
 * @throws {SetupError} for a missing or wrong checksum (naming both sums), a failed or short transfer, or an archive
 *   that is not libtorch or would write outside its folder
 */
export async function downloadLibtorch({
  url,
  sha256,
  folder = defaultFolder(),
  report = createReporter(),
} = {}) {
  const wanted = chooseArchive(url, sha256);
  const work = path.join(folder, `unfinished-${process.pid}`);
  fs.mkdirSync(work, { recursive: true });
  try {
    const archive = path.join(work, "archive.zip");
    const name = path.basename(decodeURIComponent(new URL(wanted.url).pathname));
    const sum = await report.step(`downloading ${name}`, (progress) =>
      fetchTo(wanted.url, archive, progress),
    );
    if (sum !== wanted.sha256) {
      throw new SetupError(
        `${wanted.url} is not the file that was expected: its SHA-256 is ${sum}, not ${wanted.sha256}`,
      );
    }
    await report.step(`unpacking ${name}`, () => unpack(archive, work));
    fs.rmSync(archive);
    const target = path.join(folder, versionOf(work, wanted.url));
    if (fs.existsSync(target)) fs.rmSync(target, { recursive: true });
    fs.renameSync(work, target);
    return path.join(target, "libtorch");
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

/** Where `findLibtorch` looks for what was downloaded. */
function defaultFolder() {
  return path.join(cacheRoot(), "libtorch");
}

/**
 * @param {string | undefined} url
 * @param {string | undefined} sha256
 */
function chooseArchive(url, sha256) {
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(sha256)) {
    throw new SetupError(`--sha256 expects 64 hexadecimal digits, not "${sha256}"`);
  }
  if (url === undefined) {
    if (process.arch !== "x64")
      throw new SetupError("there is no official archive for this CPU: give --url and --sha256");
    return { ...pinned, ...(sha256 && { sha256: sha256.toLowerCase() }) };
  }
  if (!URL.canParse(url)) throw new SetupError(`--url expects an http(s) address, not "${url}"`);
  if (sha256 === undefined) throw new SetupError("--url needs --sha256 with the checksum of that archive");
  return { url, sha256: sha256.toLowerCase() };
}

/**
 * @param {string} url
 * @param {string} file
 * @param {(text: string) => void} progress
 * @returns {Promise<string>} the SHA-256 of what came
 */
async function fetchTo(url, file, progress) {
  const response = await fetch(url).catch((error) => {
    throw new SetupError(`${url} cannot be reached: ${reasonOf(error)}`);
  });
  if (!response.ok || !response.body)
    throw new SetupError(`${url} answered ${response.status} ${response.statusText}`);
  const size = Number(response.headers.get("content-length") ?? 0);
  const digest = createHash("sha256");
  let bytes = 0;
  const counted = async function* (/** @type {AsyncIterable<Uint8Array>} */ body) {
    for await (const chunk of body) {
      digest.update(chunk);
      bytes += chunk.length;
      progress(`${(bytes / 1e6).toFixed(0)}${size ? ` of ${(size / 1e6).toFixed(0)}` : ""} MB`);
      yield chunk;
    }
  };
  try {
    await pipeline(response.body, counted, fs.createWriteStream(file));
  } catch (error) {
    throw new SetupError(
      `the download of ${url} broke off after ${bytes} of ${size || "?"} bytes: ${reasonOf(error)}`,
    );
  }
  return digest.digest("hex");
}

/**
 * (yauzl refuses absolute names and those with `..`; symbolic links come out as plain files.)
 * @param {string} archive
 * @param {string} folder
 */
async function unpack(archive, folder) {
  const yauzl = (await import("yauzl")).default;
  try {
    const zip = await yauzl.openPromise(archive, { autoClose: false });
    try {
      for await (const entry of zip.eachEntry()) {
        if (entry.fileName.endsWith("/")) continue;
        const target = path.join(folder, entry.fileName);
        fs.mkdirSync(path.dirname(target), { recursive: true });
        await pipeline(await zip.openReadStreamPromise(entry), fs.createWriteStream(target));
      }
    } finally {
      zip.close();
    }
  } catch (error) {
    throw new SetupError(`the archive cannot be unpacked: ${reasonOf(error)}`);
  }
}

/**
 * @param {string} folder
 * @param {string} url
 */
function versionOf(folder, url) {
  const file = path.join(folder, "libtorch", "build-version");
  const version = fs.existsSync(file) ? fs.readFileSync(file, "utf8").trim() : "";
  if (/^\d[\w.+-]*$/.test(version)) return version;
  throw new SetupError(`${url} is no libtorch archive: it holds no libtorch/build-version`);
}

/** @param {unknown} error */
function reasonOf(error) {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
