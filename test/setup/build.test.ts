/** The native build: against a tiny library in libtorch's place, with a tiny addon. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildBridge } from "../../src/setup/build.js";
import type { Libtorch } from "../../src/setup/libtorch.js";
import { builtAddon, packageRoot } from "../../src/setup/locate.js";
import type { Reporter } from "../../src/setup/report.js";

const addon = `#include <node_api.h>
#include "answer.h"
NAPI_MODULE_INIT() {
  napi_value value;
  napi_create_int32(env, ANSWER, &value);
  napi_set_named_property(env, exports, "answer", value);
  return exports;
}
`;

let root: string;
let libtorch: Libtorch;
const told: string[] = [];
const report: Reporter = {
  note: (text) => void told.push(text),
  step: (what, work) => {
    told.push(what);
    return work(() => {});
  },
};

/** A package folder with an addon, and empty libraries by the names that are linked. */
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-build-"));
  const lib = path.join(root, "torch", "lib");
  fs.mkdirSync(lib, { recursive: true });
  fs.mkdirSync(path.join(root, "native", "inner"), { recursive: true });
  fs.writeFileSync(path.join(root, "package.json"), '{ "version": "0.0.0" }');
  fs.symlinkSync(path.join(packageRoot, "node_modules"), path.join(root, "node_modules"));
  execFileSync("g++", ["-shared", "-o", path.join(lib, "libc10.so"), "-x", "c++", "/dev/null"]);
  for (const name of ["libtorch.so", "libtorch_cpu.so"])
    fs.copyFileSync(`${lib}/libc10.so`, `${lib}/${name}`);
  const place = { root: path.join(root, "torch"), includes: [], libDirs: [lib] };
  libtorch = { ...place, version: "2.6.0", source: "LIBTORCH", cxx11Abi: 1, cuda: null };
  fs.writeFileSync(path.join(root, "native", "addon.cc"), addon);
  fs.writeFileSync(path.join(root, "native", "answer.h"), "#define ANSWER 42\n");
  fs.writeFileSync(path.join(root, "native", "inner", "other.cc"), "int other() { return 1; }\n");
});
afterAll(() => fs.rmSync(root, { recursive: true }));

function build(folders = [path.join(root, "build")]) {
  told.length = 0;
  return buildBridge(libtorch, { root, folders, report });
}

describe("buildBridge", () => {
  it("builds an addon that Node loads, and says where it is", async () => {
    const built = await build();
    expect(createRequire(import.meta.url)(built.addon)).toEqual({ answer: 42 });
    expect(told).toEqual(["compiling 2 C++ files against libtorch 2.6.0 (LIBTORCH)"]);
    expect(builtAddon([path.join(root, "build")])).toEqual(built);
    expect(built.libtorch).toEqual({ version: "2.6.0", source: "LIBTORCH", root: libtorch.root });
    expect(built.builtAt).toMatch(/^\d{4}-\d\d-\d\dT/);
  });

  it("does nothing a second time, and compiles a changed file alone", async () => {
    const first = await build();
    expect(told).toEqual([]);
    fs.appendFileSync(path.join(root, "native", "inner", "other.cc"), "int another() { return 2; }\n");
    const second = await build();
    expect(told).toEqual(["compiling 1 C++ file against libtorch 2.6.0 (LIBTORCH)"]);
    expect(second.key).not.toBe(first.key);
    expect(fs.existsSync(first.addon)).toBe(true);
  });

  it("compiles everything anew for a changed header, another version or another ABI", async () => {
    fs.writeFileSync(path.join(root, "native", "answer.h"), "#define ANSWER 43\n");
    const built = await build();
    expect(told[0]).toMatch(/^compiling 2 /);
    expect(createRequire(import.meta.url)(built.addon)).toEqual({ answer: 43 });
    const keys = [built.key];
    for (const other of [{ version: "2.7.0" }, { cxx11Abi: 0 } as const]) {
      libtorch = { ...libtorch, ...other };
      keys.push((await build()).key);
    }
    expect(new Set(keys).size).toBe(3);
  });

  it("shows the first errors and the log, and leaves the earlier addon current", async () => {
    const before = builtAddon([path.join(root, "build")]);
    const file = path.join(root, "native", "inner", "other.cc");
    const good = fs.readFileSync(file, "utf8");
    fs.writeFileSync(file, "int other() { return nowhere; }\n");
    const failure = await build().catch((error: Error) => error);
    fs.writeFileSync(file, good);
    expect(failure).toMatchObject({ name: "SetupError" });
    const { message } = failure as Error;
    expect(message).toMatch(/other\.cc:1:\d+: error: .nowhere. was not declared/);
    const log = /all of its messages are in ([^,]+),/.exec(message)?.[1] ?? "";
    expect(fs.readFileSync(log, "utf8")).toContain("nowhere");
    expect(builtAddon([path.join(root, "build")])).toEqual(before);
  });

  it("links the OpenMP runtime that libtorch brings, and no second one", async () => {
    const runtime = path.join(root, "torch", "lib", "libgomp-1a2b3c.so.1");
    execFileSync("g++", [
      "-shared",
      "-Wl,-soname,libgomp-1a2b3c.so.1",
      "-o",
      runtime,
      "-x",
      "c++",
      "/dev/null",
    ]);
    const { addon: file } = await build();
    const dynamic = execFileSync("readelf", ["-d", file], { encoding: "utf8" });
    const needed = [...dynamic.matchAll(/NEEDED.*\[(libgomp.*)\]/g)].map((match) => match[1]);
    expect(needed).toEqual(["libgomp-1a2b3c.so.1"]);
    expect(dynamic).toMatch(new RegExp(`(RUNPATH|RPATH).*\\[${path.join(root, "torch", "lib")}\\]`));
  });

  it("goes to the next folder where the first cannot be written", async () => {
    // A file in a folder's place refuses even root.
    fs.writeFileSync(path.join(root, "taken"), "");
    const cache = path.join(root, "cache");
    const built = await build([path.join(root, "taken", "native"), cache]);
    expect(built.addon.startsWith(cache)).toBe(true);
    await expect(build([path.join(root, "taken", "native")])).rejects.toThrow(
      /no folder for the native build/,
    );
  });
});

describe("builtAddon", () => {
  it("ignores a record without its addon, and one that is no JSON", () => {
    const folder = path.join(root, "broken");
    fs.mkdirSync(folder);
    const record = path.join(folder, "current.json");
    fs.writeFileSync(record, JSON.stringify({ addon: "gone/varidiff.node", key: "gone" }));
    expect(builtAddon([folder])).toBeUndefined();
    fs.writeFileSync(record, "{");
    expect(builtAddon([folder])).toBeUndefined();
  });
});
