/** What a clone needs beyond the bridge: when dependencies and sources count as up to date. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { buildTypeScript, installDependencies } from "../../src/setup/clone.js";
import { isClone, packageRoot } from "../../src/setup/locate.js";
import { createReporter, type Reporter } from "../../src/setup/report.js";

let root: string;
let steps: string[];
/** Notes the step and refuses it, so that no test starts npm. */
const refusing: Reporter = {
  note: () => {},
  step: (what) => {
    steps.push(what);
    return Promise.reject(new Error("refused"));
  },
};
const working: Reporter = {
  note: () => {},
  step: (what, work) => {
    steps.push(what);
    return work(() => {});
  },
};

beforeEach(() => {
  steps = [];
  root = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-clone-"));
});
afterEach(() => fs.rmSync(root, { recursive: true }));

function write(name: string, content: unknown): void {
  const file = path.join(root, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
}

describe("isClone", () => {
  it("tells this repository from a package without its build files", () => {
    expect(isClone(packageRoot)).toBe(true);
    write("package.json", {});
    expect(isClone(root)).toBe(false);
  });
});

describe("installDependencies", () => {
  const wanted = {
    "": { name: "varidiff" },
    "node_modules/zod": { version: "4.1.0" },
    "node_modules/for-another-system": { version: "1.0.0", optional: true },
  };

  it("is content where every package has the locked version", async () => {
    write("package-lock.json", { packages: wanted });
    write("node_modules/.package-lock.json", { packages: { "node_modules/zod": { version: "4.1.0" } } });
    await installDependencies(refusing, root);
    expect(steps).toEqual([]);
  });

  it.each([
    ["there is no node_modules", undefined],
    ["a package has another version", { "node_modules/zod": { version: "4.0.0" } }],
    ["a package is missing", {}],
  ])("installs where %s", async (_, packages) => {
    write("package-lock.json", { packages: wanted });
    if (packages) write("node_modules/.package-lock.json", { packages });
    await expect(installDependencies(refusing, root)).rejects.toThrow("refused");
    expect(steps).toEqual(["installing the npm dependencies"]);
  });
});

describe("buildTypeScript", () => {
  beforeEach(() => {
    fs.symlinkSync(path.join(packageRoot, "node_modules"), path.join(root, "node_modules"));
    write("package.json", { type: "module" });
    write("package-lock.json", {});
    write("tsconfig.json", {});
    const options = {
      rootDir: "src",
      outDir: "dist",
      target: "ES2023",
      module: "NodeNext",
      types: [],
      skipLibCheck: true,
    };
    const incremental = { incremental: true, tsBuildInfoFile: "build/tsc.tsbuildinfo" };
    write("tsconfig.build.json", { compilerOptions: { ...options, ...incremental }, include: ["src"] });
    write("src/one.ts", "export const one: number = 1;\n");
  });

  it("compiles once, again after a change, and again where dist is gone", async () => {
    const built = path.join(root, "dist", "one.js");
    await buildTypeScript(working, root);
    await buildTypeScript(working, root);
    expect(steps).toEqual(["compiling the TypeScript sources"]);
    expect(fs.readFileSync(built, "utf8")).toContain("one = 1");

    write("src/one.ts", "export const one: number = 2;\n");
    await buildTypeScript(working, root);
    expect(fs.readFileSync(built, "utf8")).toContain("one = 2");

    fs.rmSync(path.join(root, "dist"), { recursive: true });
    await buildTypeScript(working, root);
    expect(fs.existsSync(built)).toBe(true);
    expect(steps).toHaveLength(3);
  });

  it("shows compile errors and does not take the build for done", async () => {
    write("src/one.ts", 'export const one: number = "1";\n');
    for (let time = 0; time < 2; time++) {
      await expect(buildTypeScript(working, root)).rejects.toThrow(/src\/one\.ts\(1,14\): error TS2322/);
    }
  });
});

describe("createReporter", () => {
  it("writes what is done, progress only on a terminal, and how it ended", async () => {
    let text = "";
    const stream = { write: (part: string) => (text += part) };
    const report = createReporter(stream);
    await report.step("working", async (progress) => progress("half"));
    await report.step("failing", () => Promise.reject(new Error("no"))).catch(() => {});
    report.note("that was it");
    expect(text).toMatch(
      /^setup: working \.\.\. done in \d+\.\d s\nsetup: failing \.\.\. failed after \d+\.\d s\nsetup: that was it\n$/,
    );
  });
});
