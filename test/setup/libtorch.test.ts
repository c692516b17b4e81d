/** Finding libtorch: the order of the places, and why each is refused. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { selectedBlas } from "../../src/setup/blas.js";
import { compareVersions, findLibtorch, triplet } from "../../src/setup/libtorch.js";

/** Itanium mangling of `c10::detail::torchCheckFail(const char*, const char*, unsigned, const std::string&)`. */
const newAbi = "_ZN3c106detail14torchCheckFailEPKcS2_jRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE";
const oldAbi = "_ZN3c106detail14torchCheckFailEPKcS2_jRKSs";

let folder: string;
let empty: string;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-libtorch-"));
  empty = path.join(folder, "empty");
  fs.mkdirSync(empty);
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

function write(file: string, text: string): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text);
}

interface Fake {
  readonly version?: string;
  readonly lib?: string;
  readonly symbol?: string;
  readonly header?: string;
}

function fakeLibtorch(root: string, options: Fake = {}): string {
  const { version = "2.6.0", lib = "lib", symbol = newAbi } = options;
  const { header = "torch/csrc/api/include/torch/version.h" } = options;
  write(path.join(root, "include/torch/script.h"), "");
  write(
    path.join(root, "include", header),
    `#define TORCH_VERSION_MAJOR 0\n#define TORCH_VERSION \\\n  "${version}"\n`,
  );
  write(path.join(root, lib, "libtorch_cpu.so"), "");
  write(path.join(root, lib, "libc10.so"), `\0${symbol}\0`);
  return root;
}

/** A `python3` that knows one torch, or none. */
function fakePython(torch: string): string {
  const bin = path.join(folder, "bin");
  write(path.join(bin, "python3"), `#!/bin/sh\necho "${torch}"\n`);
  fs.chmodSync(path.join(bin, "python3"), 0o755);
  return bin;
}

describe("findLibtorch", () => {
  it("reads version, ABI, includes and CUDA from LIBTORCH", async () => {
    const root = fakeLibtorch(path.join(folder, "torch"), { version: "2.5.1" });
    write(path.join(root, "lib/libtorch_cuda.so"), "");
    write(path.join(root, "build-version"), "2.5.1+cu124\n");
    const { libtorch } = await findLibtorch({ env: { LIBTORCH: root } });
    expect(libtorch).toEqual({
      root,
      includes: [`${root}/include`, `${root}/include/torch/csrc/api/include`],
      libDirs: [`${root}/lib`],
      version: "2.5.1",
      source: "LIBTORCH",
      cxx11Abi: 1,
      cuda: "12.4",
    });
  });

  it("reads the old ABI, and the version where newer headers keep it", async () => {
    const root = fakeLibtorch(path.join(folder, "torch"), {
      symbol: oldAbi,
      header: "torch/headeronly/version.h",
    });
    const { libtorch } = await findLibtorch({ env: { LIBTORCH: root } });
    expect(libtorch).toMatchObject({ cxx11Abi: 0, version: "2.6.0", cuda: null });
  });

  it("prefers the torch of python3 to Debian's, and takes Debian's where that one has no headers", async () => {
    const wheel = fakeLibtorch(path.join(folder, "site-packages/torch"), { version: "2.7.1" });
    write(path.join(wheel, "version.py"), "__version__ = '2.7.1'\ncuda: Optional[str] = '12.8'\n");
    write(path.join(wheel, "lib/libtorch_cuda.so"), "");
    const systemRoot = fakeLibtorch(path.join(folder, "usr"), { version: "1.13.0", lib: `lib/${triplet}` });
    const search = { env: { PATH: fakePython(wheel), XDG_CACHE_HOME: empty }, systemRoot };
    expect((await findLibtorch(search)).libtorch).toMatchObject({
      source: "python3",
      version: "2.7.1",
      cuda: "12.8",
    });

    fs.rmSync(path.join(wheel, "include"), { recursive: true });
    const { libtorch, refused } = await findLibtorch(search);
    expect(refused[0]).toEqual({ source: "python3", reason: `${wheel} has no include/torch/script.h` });
    // The machine's own /usr/bin/python3 may have a torch, and stands between the two.
    expect(["/usr/bin/python3", "debian"]).toContain(libtorch?.source);
  });

  it("looks nowhere else where LIBTORCH is set", async () => {
    const { libtorch, refused } = await findLibtorch({ env: { LIBTORCH: empty } });
    expect(libtorch).toBeUndefined();
    expect(refused).toEqual([{ source: "LIBTORCH", reason: `${empty} has no include/torch/script.h` }]);
  });

  it.each([
    ["an old version", { version: "1.12.1" }, /libtorch 1\.12\.1 in .* is too old: 1\.13 or newer is needed/],
    ["an unreadable ABI", { symbol: "nothing" }, /cannot read the C\+\+ ABI of .*libc10\.so/],
    ["no library", { lib: "elsewhere" }, /has no lib\/libtorch_cpu\.so/],
  ])("refuses %s", async (_, fake, reason) => {
    const { refused } = await findLibtorch({
      env: { LIBTORCH: fakeLibtorch(path.join(folder, "torch"), fake) },
    });
    expect(refused[0]?.reason).toMatch(reason);
  });
});

describe("compareVersions", () => {
  it.each([
    ["1.13.1", "1.9.0", 1],
    ["2.10.0", "2.9.1", 1],
    ["2.13.0+cpu", "2.13", 0],
    ["1.13.0a0", "1.13", 0],
    ["20.19.0", "22.1.0", -1],
  ])("orders %s and %s by number", (a, b, sign) => {
    expect(Math.sign(compareVersions(a, b))).toBe(sign);
  });
});

describe("selectedBlas", () => {
  it.each([
    ["openblas-pthread/libblas.so.3", "openblas"],
    ["blas/libblas.so.3.11.0", "reference"],
    ["mkl/libmkl_rt.so", "mkl"],
  ])("names %s", (target, kind) => {
    write(path.join(folder, target), "");
    write(path.join(folder, "libtorch_cpu.so"), "");
    fs.symlinkSync(target, path.join(folder, "libblas.so.3"));
    const file = fs.realpathSync(path.join(folder, target));
    expect(selectedBlas({ libDirs: [folder] }, fs.realpathSync(folder))).toEqual({ kind, file });
  });

  it("knows that a wheel brings its own", () => {
    const root = fakeLibtorch(path.join(folder, "torch"));
    expect(selectedBlas({ libDirs: [path.join(root, "lib")] }, empty)).toEqual({
      kind: "bundled",
      file: null,
    });
  });
});
