/** The native addon: its functions as TypeScript sees them, loaded when the first tensor is made. */
import { createRequire } from "node:module";
import { UserError } from "../errors.js";
import { builtAddon } from "../setup/locate.js";
import type { FloatDtype } from "./dtype.js";

declare const opaque: unique symbol;
/** A tensor, generator or script module on the other side of the bridge. */
export type Handle = { readonly [opaque]: "handle" };

/** What the addon exports (native/*.cc). */
export interface Native {
  version(): {
    torch: string;
    cuda: boolean;
    cudaDevices: number;
    threads: number;
    configuration: string;
    /** Precisions whose 3x3 convolutions take Winograd's way on this CPU. */
    winograd: readonly FloatDtype[];
  };
  findOperator(name: string): number;
  schemaOf(id: number): string;
  /** A single tensor comes back in `spare`, where that is the handle of a disposed one. */
  call(id: number, spare: Handle | undefined, ...args: unknown[]): unknown;
  fromBytes(bytes: ArrayBufferView, dtype: number, shape: readonly number[]): Handle;
  toBytes(tensor: Handle): ArrayBuffer;
  item(tensor: Handle): number;
  shape(tensor: Handle): number[];
  strides(tensor: Handle): number[];
  dtype(tensor: Handle): number;
  device(tensor: Handle): string;
  describe(tensor: Handle): string;
  dispose(tensors: readonly Handle[]): void;
  disposedHandle(): Handle;
  countMemory(on: boolean): void;
  liveTensors(): number;
  /** Another handle of the same tensor. */
  share(tensor: Handle): Handle;
  mapFile(path: string): Handle;
  setThreads(count: number): void;
  threads(): number;
  backward(
    roots: readonly Handle[],
    gradients: readonly Handle[] | null,
    retain: boolean,
    create: boolean,
  ): void;
  grad(
    outputs: readonly Handle[],
    inputs: readonly Handle[],
    gradients: readonly Handle[] | null,
    retain: boolean,
    create: boolean,
  ): (Handle | null)[];
  requiresGrad(tensor: Handle): boolean;
  setRequiresGrad(tensor: Handle, on: boolean): void;
  gradient(tensor: Handle): Handle | null;
  clearGradients(tensors: readonly Handle[]): void;
  setGradMode(on: boolean): boolean;
  gradMode(): boolean;
  setAutocast(device: "cpu" | "cuda", dtype: number | null): number | null;
  /** `run` computes the outputs again with a graph; they are freed when their gradients are known. */
  checkpoint(
    inputs: readonly Handle[],
    outputs: readonly Handle[],
    run: (inputs: readonly Handle[]) => readonly Handle[],
  ): Handle[];
  makeGenerator(device: string): Handle;
  seed(generator: Handle, seed: number): void;
  seedWide(generator: Handle, key: bigint): void;
  generatorState(generator: Handle): Handle;
  setGeneratorState(generator: Handle, state: Handle): void;
  loadScript(path: string, device: string): Handle;
  runScript(module: Handle, method: string, ...inputs: (Handle | boolean)[]): Handle[];
  startProfile(): void;
  stopProfile(): [name: string, calls: number, seconds: number][];
  synchronise(device: number): void;
}

/** What it exports besides where it was built with CUDA's headers. */
export interface NativeCuda extends Native {
  deviceName(device: number): string;
  peakDeviceBytes(device: number): number;
  resetPeakDeviceBytes(device: number): void;
  makeGraph(device: number): Handle;
  enterGraphStream(graph: Handle): void;
  leaveGraphStream(graph: Handle): void;
  beginCapture(graph: Handle): void;
  endCapture(graph: Handle): void;
  replayGraph(graph: Handle): void;
  resetGraph(graph: Handle): void;
}

let loaded: Native | undefined;

/**
 * The addon, loaded on first use (about half a second).
 * @throws UserError when it was never built or no longer fits this machine's libtorch.
 */
export function native(): Native {
  if (loaded) return loaded;
  const built = builtAddon();
  if (!built)
    throw new UserError(
      "the bridge to libtorch is not built: run `npx varidiff setup` (in a clone: `npm run setup`)",
    );
  shortenSpinning();
  try {
    loaded = createRequire(import.meta.url)(built.addon) as Native;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new UserError(
      `the bridge to libtorch does not load (${reason}): run \`npx varidiff doctor\`, then \`npx varidiff setup\``,
      { cause },
    );
  }
  return loaded;
}

/** The addon with what CUDA's headers are needed for. @throws UserError where they were not there as it was built */
export function nativeCuda(): NativeCuda {
  const bridge = native();
  if (!("makeGraph" in bridge))
    throw new UserError(
      "expected a bridge built with CUDA's headers, got one without: set CUDA_HOME to a toolkit of libtorch's CUDA version, then run `npx varidiff setup`",
    );
  return bridge as NativeCuda;
}

/**
 * OpenMP's threads wait for each other in a busy loop, which stands still where another process wants the core: with
 * both cores of a machine wanted elsewhere too, a training step took 1.3 times as long. A short loop costs an idle
 * machine nothing that can be measured. The library reads this once, when it is loaded; what the user says stands.
 */
function shortenSpinning(): void {
  const { env } = process;
  if (env.OMP_WAIT_POLICY === undefined && env.GOMP_SPINCOUNT === undefined) env.GOMP_SPINCOUNT = "10000";
}
