/** Which headers of CUDA are taken: those of libtorch's version, the closest first. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { cudaHeaders } from "../../src/setup/cuda-headers.js";

let folder: string;
let toolkit: string;

/** Headers of a version, as NVIDIA writes it, below `root`. */
function headers(root: string, version: number): string {
  const include = path.join(root, "include");
  fs.mkdirSync(path.join(include, "crt"), { recursive: true });
  fs.writeFileSync(path.join(include, "cuda_runtime_api.h"), `#define CUDART_VERSION  ${version}\n`);
  for (const name of ["cuda.h", "crt/host_defines.h"]) fs.writeFileSync(path.join(include, name), "");
  return include;
}

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-cuda-"));
  toolkit = path.join(folder, "cuda");
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

it("looks beside a wheel's torch, below CUDA_HOME and in the usual place, for libtorch's major version", () => {
  const found = (cuda: string | null, env: NodeJS.ProcessEnv = {}) =>
    cudaHeaders({ root: path.join(folder, "site-packages", "torch"), cuda }, { env, toolkit });
  expect(found("13.0")).toBeUndefined();
  const usual = headers(toolkit, 13000);
  expect(found("13.2")).toBe(usual);
  expect(found("unknown")).toBe(usual);
  expect(found("12.4")).toBeUndefined();
  expect(found(null)).toBeUndefined();
  const home = path.join(folder, "home");
  const named = headers(home, 12080);
  expect(found("12.4", { CUDA_HOME: home })).toBe(named);
  expect(found("13.0", { CUDA_HOME: home })).toBe(usual);
  const wheel = headers(path.join(folder, "site-packages", "nvidia", "cu13"), 13010);
  expect(found("13.0", { CUDA_HOME: home })).toBe(wheel);
  fs.rmSync(path.join(wheel, "crt"), { recursive: true });
  expect(found("13.0")).toBe(usual);
});
