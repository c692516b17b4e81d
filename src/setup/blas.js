/** Which BLAS does the matrix products of a libtorch: it decides their speed by a factor of twenty. */
import fs from "node:fs";
import path from "node:path";
import { triplet } from "./libtorch.js";

/** @import { Libtorch } from "./libtorch.js" */

/**
 * @typedef {object} Blas
 * @property {"openblas" | "mkl" | "blis" | "atlas" | "reference" | "bundled" | "unknown"} kind `bundled`: inside libtorch
 * @property {string | null} file what `libblas.so.3` resolves to; `null` where libtorch brings its own
 */

/**
 * Debian's libtorch calls whatever `libblas.so.3` the machine's alternatives select; wheels and archives bring theirs.
 * @param {Pick<Libtorch, "libDirs">} libtorch
 * @param {string} [folder] where the linker finds `libblas.so.3`
 * @returns {Blas}
 */
export function selectedBlas({ libDirs }, folder = `/usr/lib/${triplet}`) {
  if (!libDirs.some((one) => fs.realpathSync(path.join(one, "libtorch_cpu.so")).startsWith(`${folder}/`))) {
    return { kind: "bundled", file: null };
  }
  const link = path.join(folder, "libblas.so.3");
  if (!fs.existsSync(link)) return { kind: "unknown", file: null };
  const file = fs.realpathSync(link);
  const kinds = /** @type {const} */ (["openblas", "mkl", "blis", "atlas"]);
  const kind = kinds.find((name) => file.includes(name));
  return { kind: kind ?? (/\/blas\/libblas\.so/.test(file) ? "reference" : "unknown"), file };
}
