/** What `varidiff doctor` finds out: the parts of the set-up, the machine under them, and advice on what is wrong. */
import fs from "node:fs";
import os from "node:os";
import { type DatasetStatus, listDatasets } from "../data/registry.js";
import { UserError } from "../errors.js";
import { packageVersion } from "../experiment/provenance.js";
import { type Blas, selectedBlas } from "../setup/blas.js";
import { compilerVersion } from "../setup/build.js";
import {
  compareVersions,
  findLibtorch,
  type Libtorch,
  type Refusal,
  type SearchOptions,
} from "../setup/libtorch.js";
import { type BuiltAddon, builtAddon, setupCommandLine } from "../setup/locate.js";
import { type BridgeVersion, probeAddon } from "../setup/probe.js";
import { hasFastBfloat16, physicalCores } from "../torch/device.js";

/** `broken`: nothing can be computed before it is mended. */
export interface Advice {
  readonly severity: "broken" | "warning";
  readonly text: string;
}

/** The bridge as it was built, with what it said of itself or why it could not be used. */
export interface BridgeState extends BuiltAddon {
  readonly says?: BridgeVersion;
  readonly failure?: string;
}

export interface Machine {
  readonly cpu: string;
  readonly architecture: string;
  readonly physicalCores: number;
  readonly logicalCores: number;
  /** Threads that an operator uses where a run does not say. */
  readonly threads: number;
  /** Of the vector and bfloat16 extensions that matter for speed, those that this CPU has. */
  readonly features: readonly string[];
  /** What `precision: auto` means on this CPU. */
  readonly precision: "bfloat16" | "float32";
  readonly memory: { readonly totalBytes: number; readonly availableBytes: number };
  /** The NVIDIA kernel driver is loaded, whether or not libtorch can use it. */
  readonly nvidiaDriver: boolean;
}

export interface Diagnosis {
  readonly varidiff: string;
  readonly node: string;
  /** `null`: there is no g++. */
  readonly compiler: string | null;
  readonly libtorch: Libtorch | null;
  readonly refused: readonly Refusal[];
  readonly bridge: BridgeState | null;
  readonly blas: Blas | null;
  readonly machine: Machine;
  /** Every known data set, found or not. */
  readonly datasets: readonly DatasetStatus[];
  readonly datasetsFailure?: string;
  readonly advice: readonly Advice[];
}

type Found = Omit<Diagnosis, "advice">;

export interface DiagnosisOptions {
  readonly search?: SearchOptions;
  /** The addon to examine; default: that of the last build. */
  readonly built?: BuiltAddon | undefined;
}

/** Examines everything; the bridge is loaded in a child process only. */
export async function diagnose({ search, built = builtAddon() }: DiagnosisOptions = {}): Promise<Diagnosis> {
  const [{ libtorch = null, refused }, compiler, bridge] = await Promise.all([
    findLibtorch(search),
    compilerVersion().catch(() => null),
    built ? examine(built) : null,
  ]);
  const found = {
    varidiff: packageVersion(),
    node: process.versions.node,
    compiler,
    libtorch,
    refused,
    bridge,
    blas: libtorch && selectedBlas(libtorch),
    machine: machine(),
    ...dataSets(),
  };
  return { ...found, advice: adviceOn(found) };
}

/** The data sets, or why their register cannot be read. */
function dataSets(): Pick<Found, "datasets" | "datasetsFailure"> {
  try {
    return { datasets: listDatasets() };
  } catch (error) {
    if (error instanceof UserError) return { datasets: [], datasetsFailure: error.message };
    throw error;
  }
}

async function examine(built: BuiltAddon): Promise<BridgeState> {
  const probe = await probeAddon(built.addon);
  return "version" in probe ? { ...built, says: probe.version } : { ...built, failure: probe.failure };
}

function machine(): Machine {
  const cpuInfo = fs.existsSync("/proc/cpuinfo") ? fs.readFileSync("/proc/cpuinfo", "utf8") : "";
  const flags = new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(cpuInfo)?.[1]?.trim().split(" "));
  const limit = process.constrainedMemory();
  const totalBytes = limit > 0 && limit < os.totalmem() ? limit : os.totalmem();
  return {
    cpu: os.cpus()[0]?.model.trim() || "unknown",
    architecture: os.arch(),
    physicalCores: physicalCores(),
    logicalCores: os.cpus().length,
    threads: physicalCores(),
    features: ["avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16"].filter((name) =>
      flags.has(name),
    ),
    precision: hasFastBfloat16() ? "bfloat16" : "float32",
    memory: { totalBytes, availableBytes: Math.min(os.freemem(), totalBytes) },
    nvidiaDriver: fs.existsSync("/proc/driver/nvidia/version"),
  };
}

/** One line for each thing that is missing or wrong, what is broken first. */
function adviceOn(found: Found): Advice[] {
  const { node, compiler, libtorch, bridge, blas, machine: here, datasets, datasetsFailure } = found;
  const broken: string[] = [];
  const warnings: string[] = [];
  const works = bridge?.says !== undefined;
  const setup = setupCommandLine();

  if (compareVersions(node, "20.19.0") < 0) broken.push(`Node ${node} is too old: install 20.19 or newer`);
  if (!bridge) broken.push(`the bridge is not built: run ${setup}`);
  if (bridge?.failure) broken.push(`the bridge: ${bridge.failure}`);
  if (!libtorch) {
    const text = `no libtorch was found: ${setup} installs it where apt may, ${setupCommandLine("--download")} fetches it`;
    (works ? warnings : broken).push(text);
  }
  if (!compiler)
    (works ? warnings : broken).push("g++ was not found: install g++ (the bridge is compiled with it)");
  if (
    bridge &&
    libtorch &&
    (bridge.libtorch.root !== libtorch.root || bridge.libtorch.version !== libtorch.version)
  ) {
    warnings.push(
      `the bridge is linked to libtorch ${bridge.libtorch.version} in ${bridge.libtorch.root}: to change: ${setup}`,
    );
  }
  if (blas?.kind === "reference") {
    warnings.push(
      "the reference BLAS is slow (over 20 times in products): apt-get install libopenblas0-pthread",
    );
  }
  if (here.nvidiaDriver && bridge?.says?.cudaDevices === 0) {
    warnings.push(
      `there is an NVIDIA GPU, but this libtorch cannot use it: pip install torch (a CUDA build), then ${setup}`,
    );
  }
  if (here.architecture === "x64" && !here.features.includes("avx2")) {
    warnings.push("this CPU has no AVX2: training will be slow; prefer another machine");
  }
  if (here.memory.totalBytes < 4e9)
    warnings.push("less than 4 GB of memory: use small batches (--set train.batchSize=16)");
  if (datasetsFailure) warnings.push(datasetsFailure);
  else if (!datasets.some((dataset) => dataset.found)) {
    warnings.push(
      "no data set was found: apt-get install dataset-fashion-mnist, or varidiff data add NAME PATH",
    );
  }
  return [
    ...broken.map((text) => ({ severity: "broken", text }) as const),
    ...warnings.map((text) => ({ severity: "warning", text }) as const),
  ];
}
