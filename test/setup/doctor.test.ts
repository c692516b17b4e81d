/** The doctor: broken addons are diagnosed from outside, and each finding has its line. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Diagnosis, diagnose } from "../../src/cli/diagnosis.js";
import { describe as inWords } from "../../src/cli/doctor.js";
import { type BuiltAddon, builtAddon, packageRoot } from "../../src/setup/locate.js";
import { probeAddon } from "../../src/setup/probe.js";

let folder: string;

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-doctor-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** Compiles a shared library; `body` may use Node-API. */
function addon(name: string, body: string, flags: readonly string[] = []): string {
  const file = path.join(folder, `${name}.node`);
  const source = path.join(folder, `${name}.cc`);
  fs.writeFileSync(source, `#include <cstdlib>\n#include <node_api.h>\n${body}\n`);
  const headers = path.join(packageRoot, "node_modules", "node-api-headers", "include");
  execFileSync("g++", ["-shared", "-fPIC", `-I${headers}`, source, "-o", file, ...flags]);
  return file;
}

function built(file: string): BuiltAddon {
  const libtorch = { version: "2.6.0", source: "LIBTORCH", root: "/opt/libtorch" };
  return { addon: file, key: "key", libtorch, compiler: "12.2.0", builtAt: "2026-01-01T00:00:00.000Z" };
}

/** By what the kernel says of the CPU. */
function winogradPrecisions(): string[] {
  const has = (flag: string) =>
    new RegExp(`^flags.* ${flag}( |$)`, "m").test(fs.readFileSync("/proc/cpuinfo", "utf8"));
  if (!["avx512bw", "avx512cd", "avx512dq", "avx512vl"].every(has)) return [];
  return has("avx512_bf16") && !has("amx_bf16") ? ["float32", "bfloat16"] : ["float32"];
}

describe("probeAddon", () => {
  it("hears the real addon out", async () => {
    const file = builtAddon()?.addon ?? "the bridge is not built";
    expect(await probeAddon(file)).toEqual({
      version: {
        torch: expect.stringMatching(/^\d+\.\d+/),
        cuda: expect.any(Boolean),
        cudaDevices: expect.any(Number),
        threads: expect.any(Number),
        winograd: winogradPrecisions(),
      },
    });
  });

  it("survives an addon that aborts on load", async () => {
    const file = addon("aborts", "__attribute__((constructor)) static void load() { std::abort(); }");
    expect(await probeAddon(file)).toEqual({
      failure: expect.stringMatching(/^it crashes \(SIGABRT; .*: build the bridge/),
    });
  });

  it("survives an addon that traps on an instruction", async () => {
    const file = addon("traps", "__attribute__((constructor)) static void load() { __builtin_trap(); }");
    expect(await probeAddon(file)).toEqual({
      failure: expect.stringMatching(/instructions that this CPU lacks \(SIGILL\)/),
    });
  });

  it("names a library that is no longer there", async () => {
    const library = path.join(folder, "libgone.so");
    execFileSync("g++", [
      "-shared",
      "-fPIC",
      "-Wl,-soname,libgone.so",
      "-o",
      library,
      "-x",
      "c++",
      "/dev/null",
    ]);
    const file = addon("needs", "NAPI_MODULE_INIT() { return exports; }", ["-Wl,--no-as-needed", library]);
    fs.rmSync(library);
    expect(await probeAddon(file)).toEqual({
      failure: expect.stringMatching(/^libgone\.so cannot be found: install libtorch/),
    });
  });

  it("recognises a symbol that its libtorch lacks", async () => {
    const body = "namespace at { void moved(); }\nNAPI_MODULE_INIT() { at::moved(); return exports; }";
    expect(await probeAddon(addon("mismatch", body))).toEqual({
      failure: expect.stringMatching(/^it does not fit its libtorch \(.*undefined symbol: _ZN2at5movedEv\)/),
    });
  });

  it("refuses a file that is no library, and one that is not there", async () => {
    const file = path.join(folder, "text.node");
    fs.writeFileSync(
      file,
      "this is a text, and longer than the header of a library would be: 64 bytes and some more",
    );
    expect(await probeAddon(file)).toEqual({
      failure: expect.stringMatching(/^it is no library \(.*invalid ELF header/),
    });
    const gone = await probeAddon(path.join(folder, "gone.node"));
    expect(gone).toEqual({ failure: expect.stringMatching(/gone\.node.*: build the bridge anew/) });
  });
});

describe("diagnose", () => {
  const search = { env: { LIBTORCH: "/nowhere" } };

  it("calls a bridge that crashes broken, with one line of advice", async () => {
    const file = addon("crashes", "__attribute__((constructor)) static void load() { std::abort(); }");
    const { bridge, libtorch, refused, advice } = await diagnose({ search, built: built(file) });
    expect(libtorch).toBeNull();
    expect(refused).toEqual([{ source: "LIBTORCH", reason: "/nowhere has no include/torch/script.h" }]);
    expect(bridge?.failure).toMatch(/SIGABRT/);
    expect(advice).toContainEqual({
      severity: "broken",
      text: expect.stringMatching(/^the bridge: it crashes/),
    });
    expect(advice).toContainEqual({
      severity: "broken",
      text: expect.stringMatching(/^no libtorch was found: /),
    });
    for (const { text } of advice) expect(text).not.toContain("\n");
  });

  it("takes a working bridge for enough where libtorch's headers are gone", async () => {
    const { bridge, advice } = await diagnose({ search });
    expect(bridge?.says?.threads).toBeGreaterThan(0);
    expect(advice.filter(({ severity }) => severity === "broken")).toEqual([]);
    expect(advice).toContainEqual({
      severity: "warning",
      text: expect.stringMatching(/^no libtorch was found/),
    });
  });

  it("reports the machine as the kernel does", async () => {
    const { machine, node, datasets } = await diagnose({
      search,
      built: built(path.join(folder, "gone.node")),
    });
    const inKernel = Number(execFileSync("getconf", ["_NPROCESSORS_ONLN"], { encoding: "utf8" }));
    expect(machine.logicalCores).toBe(inKernel);
    expect(machine.physicalCores).toBeGreaterThanOrEqual(1);
    expect(machine.physicalCores).toBeLessThanOrEqual(inKernel);
    expect(machine.memory.availableBytes).toBeLessThanOrEqual(machine.memory.totalBytes);
    expect(node).toBe(process.versions.node);
    expect(datasets.map(({ name }) => name)).toContain("fashion-mnist");
  });
});

describe("describe", () => {
  const healthy: Diagnosis = {
    varidiff: "0.1.0",
    node: "20.19.0",
    compiler: "12.2.0",
    libtorch: {
      root: "/usr",
      includes: [],
      libDirs: [],
      version: "1.13.0",
      source: "debian",
      cxx11Abi: 1,
      cuda: null,
    },
    refused: [{ source: "python3", reason: "python3 has no torch" }],
    bridge: {
      ...built("/a/varidiff.node"),
      says: { torch: "1.13.0", cuda: false, cudaDevices: 0, threads: 2, winograd: ["float32"] },
    },
    blas: { kind: "openblas", file: "/usr/lib/libopenblas.so.0" },
    machine: {
      cpu: "A CPU",
      architecture: "x64",
      physicalCores: 2,
      logicalCores: 4,
      threads: 2,
      features: ["avx2", "avx512f"],
      precision: "float32",
      memory: { totalBytes: 16e9, availableBytes: 12.5e9 },
      nvidiaDriver: false,
    },
    datasets: [{ name: "mnist", summary: "digits", found: "/data/mnist", by: "registered", howToGet: "" }],
    advice: [],
  };

  it("says in words what was found", () => {
    const text = inWords(healthy);
    expect(text).toContain("1.13.0 in /usr (debian; CPU only)");
    expect(text).toContain("not python3: python3 has no torch");
    expect(text).toContain("works, linked to libtorch 2.6.0: /a/varidiff.node");
    expect(text).toContain("A CPU, x64, 2 cores (4 logical); 2 threads will be used");
    expect(text).toContain("3x3 convolutions: Winograd's in float32, libtorch's in bfloat16");
    expect(text).toContain("attention: one kernel in float32, composed in bfloat16");
    expect(text).toContain("16.0 GB, 12.5 GB available");
    expect(text).toContain("mnist (/data/mnist)");
    expect(text).toContain("all is well");
  });

  it.each([
    [["float32", "bfloat16"], "Winograd's in float32 and bfloat16", "one kernel in float32 and bfloat16"],
    [[], "libtorch's (no AVX-512 for Winograd's)", "composed of libtorch's operators (no AVX-512)"],
  ])("names the way of convolutions and attention where Winograd's are in %j", (winograd, way, attention) => {
    const says = { torch: "1.13.0", cuda: false, cudaDevices: 0, threads: 2, winograd };
    const machine = { ...healthy.machine, features: ["avx2", "avx512f", "avx512_bf16"] };
    const text = inWords({ ...healthy, machine, bridge: { ...built("/a/varidiff.node"), says } });
    expect(text).toContain(`3x3 convolutions: ${way}`);
    expect(text).toContain(`attention: ${attention}`);
  });

  it("ends with the advice instead", () => {
    const text = inWords({
      ...healthy,
      bridge: null,
      advice: [{ severity: "broken", text: "run the set-up" }],
    });
    expect(text).toContain("not built");
    expect(text).toMatch(/broken.*run the set-up$/);
    expect(text).not.toContain("all is well");
  });
});
