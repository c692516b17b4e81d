/** The machine under the tensors: libtorch's version, its threads, CUDA, and what a CPU does well. */
import fs from "node:fs";
import os from "node:os";
import { UserError } from "../errors.js";
import type { FloatDtype } from "./dtype.js";
import { native, nativeCuda } from "./native.js";

/** libtorch's version and what it was built with. */
export function torchVersion(): {
  readonly torch: string;
  readonly cuda: boolean;
  readonly cudaDevices: number;
  readonly configuration: string;
} {
  return native().version();
}

/** Threads that one operator may use. */
export function threads(): number {
  return native().threads();
}

/** The number in `OMP_THREAD_LIMIT`: OpenMP gives no more threads than that; infinity where none is said. */
export function threadLimit(): number {
  const limit = Number(process.env.OMP_THREAD_LIMIT);
  return Number.isInteger(limit) && limit > 0 ? limit : Number.POSITIVE_INFINITY;
}

/**
 * Changing the number of threads changes the last bits of sums.
 * @throws UserError for less than one, for so many that they would only wait for one another, and for more than
 *   `OMP_THREAD_LIMIT`: oneDNN waits for ever for those that OpenMP does not give
 */
export function setThreads(count: number): void {
  const most = Math.max(64, 2 * os.availableParallelism());
  const limit = threadLimit();
  if (!Number.isInteger(count) || count < 1 || count > Math.min(most, limit)) {
    const range = limit < most ? `${limit}, as many as OMP_THREAD_LIMIT allows` : String(most);
    throw new UserError(`expected a number of threads from 1 to ${range}, got ${count}: or "auto"`);
  }
  native().setThreads(count);
}

function cpuInfo(): string {
  try {
    return fs.readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    return "";
  }
}

/** Physical cores: hyper-threads share the units that a matrix product needs. */
export function physicalCores(): number {
  const cores = new Set<string>();
  let socket = "0";
  for (const line of cpuInfo().split("\n")) {
    const [key, value = ""] = line.split(":").map((s) => s.trim());
    if (key === "physical id") socket = value;
    if (key === "core id") cores.add(`${socket}/${value}`);
  }
  const available = os.availableParallelism();
  return cores.size > 0 ? Math.min(cores.size, available) : available;
}

/** Whether the CPU multiplies bfloat16 in hardware (AMX or AVX512-BF16). */
export function hasFastBfloat16(): boolean {
  return /\b(amx_bf16|avx512_bf16)\b/.test(cpuInfo());
}

/** `auto`: the first CUDA device where there is one, else the CPU. */
export function resolveDevice(device: string): string {
  if (device === "cpu") return device;
  const { cudaDevices } = torchVersion();
  if (device === "auto") return cudaDevices > 0 ? "cuda:0" : "cpu";
  const match = /^cuda(?::(\d+))?$/.exec(device);
  if (!match) throw new UserError(`expected device auto, cpu, cuda or cuda:N, got "${device}"`);
  const index = Number(match[1] ?? 0);
  if (index >= cudaDevices)
    throw new UserError(
      `expected one of ${cudaDevices} CUDA devices, got "${device}": use device: cpu, or see \`varidiff doctor\``,
    );
  return `cuda:${index}`;
}

/** `auto`: bfloat16 where the device multiplies it in hardware, else float32. */
export function resolvePrecision(precision: "auto" | FloatDtype, device: string): FloatDtype {
  if (precision !== "auto") return precision;
  return device.startsWith("cuda") || hasFastBfloat16() ? "bfloat16" : "float32";
}

/** The number of a CUDA device. @throws UserError where `device` is none that is there */
export function cudaIndex(device: string): number {
  const [kind, index] = resolveDevice(device).split(":");
  if (kind !== "cuda") throw new UserError(`expected a CUDA device (cuda or cuda:N), got "${device}"`);
  return Number(index);
}

/** Waits for all work of a device; that of the CPU is always done. */
export function synchronise(device: string): void {
  if (device !== "cpu") native().synchronise(cudaIndex(device));
}

/** The name of a CUDA device, e.g. `NVIDIA H200`. */
export function deviceName(device: string): string {
  const index = cudaIndex(device);
  return nativeCuda().deviceName(index);
}

/** Largest number of bytes that tensors took on a CUDA device at once, since the start or `resetPeakDeviceMemory`. */
export function peakDeviceMemory(device: string): number {
  const index = cudaIndex(device);
  return nativeCuda().peakDeviceBytes(index);
}

/** From now on: the peak becomes what is taken at present. */
export function resetPeakDeviceMemory(device: string): void {
  const index = cudaIndex(device);
  nativeCuda().resetPeakDeviceBytes(index);
}
