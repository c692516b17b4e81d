/** The headers of the CUDA runtime that a libtorch was built for: CUDA graphs and the memory of devices need them. */
import fs from "node:fs";
import path from "node:path";

/** @import { Libtorch } from "./libtorch.js" */

/** What native/cuda.cc and native/cuda-graph.cc read, directly or not. */
const headers = ["cuda.h", "cuda_runtime_api.h", "crt/host_defines.h"];

/**
 * A folder with the runtime's headers of libtorch's own major version: beside a wheel's torch, below `CUDA_HOME` or
 * `CUDA_PATH`, in the toolkit's usual place. Nothing of another version will do, since the layout of what both sides
 * share depends on it. `undefined` where there is none, and for a libtorch without CUDA.
 * @param {Pick<Libtorch, "root" | "cuda">} libtorch
 * @param {{ readonly env?: NodeJS.ProcessEnv, readonly toolkit?: string }} [options] `toolkit`: the usual place
 * @returns {string | undefined}
 */
export function cudaHeaders({ root, cuda }, { env = process.env, toolkit = "/usr/local/cuda" } = {}) {
  if (cuda === null) return undefined;
  const wheels = path.join(path.dirname(root), "nvidia");
  const ofWheels = fs.existsSync(wheels) ? fs.readdirSync(wheels).map((name) => path.join(wheels, name)) : [];
  const roots = [...ofWheels, env.CUDA_HOME, env.CUDA_PATH, toolkit];
  return roots
    .flatMap((folder) => (folder ? [path.join(folder, "include")] : []))
    .find((folder) => headers.every((name) => fs.existsSync(path.join(folder, name))) && fits(folder, cuda));
}

/**
 * Whether `CUDART_VERSION`, 12040 for 12.4, has the major number that libtorch says.
 * @param {string} folder
 * @param {string} cuda
 */
function fits(folder, cuda) {
  const header = fs.readFileSync(path.join(folder, "cuda_runtime_api.h"), "utf8");
  const version = /define CUDART_VERSION +(\d+)/.exec(header)?.[1];
  return cuda === "unknown" || Math.floor(Number(version) / 1000) === Number.parseInt(cuda, 10);
}
