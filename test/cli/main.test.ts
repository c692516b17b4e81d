/** The frame of the command line, in processes of its own: what goes where, exit codes, and what start-up loads. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { importsOf, loadedBy, root, transpileInto } from "../experiment/transpile.js";

const NAMES = [
  "train",
  "evaluate",
  "compare",
  "sample",
  "analyze",
  "import",
  "export",
  "compose",
  "quickstart",
  "runs",
  "data",
  "doctor",
  "setup",
];

/** A package with the real frame, and a `train` that does what its one argument says. */
let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-cli-"));
  transpileInto(folder, "src/cli/main.ts");
  fs.mkdirSync(path.join(folder, "bin"));
  fs.copyFileSync(path.join(root, "bin/varidiff.js"), path.join(folder, "bin/varidiff.js"));
  fs.writeFileSync(
    path.join(folder, "dist/cli/train.js"),
    `import { Command } from "commander";
    import { UserError } from "../errors.js";
    import { emit } from "./output.js";
    export const trainCommand = () => new Command("train")
      .argument("<what>").option("--json").option("--steps <n>")
      .action((what, { json }) => {
        if (what === "mistake") throw new UserError("expected a, found b; do c", { exitCode: 3 });
        if (what === "memory") throw new Error(
          "aten::rand: [enforce fail at alloc_cpu.cpp:75] err == 0. DefaultCPUAllocator: can't allocate memory: " +
          "you tried to allocate 3221225472 bytes. Error code 12 (Cannot allocate memory)");
        if (what === "gpu") throw new Error("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity");
        if (what === "defect") throw new TypeError("x is undefined");
        if (what === "flood") for (let i = 0; i < 10_000; i++) process.stdout.write("line\\n".repeat(100));
        else emit({ a: 1, nan: Number.NaN, inf: [Infinity] }, { json, text: () => "a is 1" });
      });`,
  );
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

function varidiff(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [path.join(folder, "bin/varidiff.js"), ...args],
    {
      encoding: "utf8",
    },
  );
  return { status, stdout, stderr };
}

test("--help lists every command with a summary, and examples, without loading any", () => {
  // Only train.js exists beside main.js: loading another would fail.
  const { status, stdout, stderr } = varidiff("--help");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  for (const name of NAMES) expect(stdout).toMatch(new RegExp(`^  ${name}\\b.* {2}\\S+`, "m"));
  expect(stdout).toContain("Examples:\n  varidiff quickstart");
});

test("start-up loads no more than commander, and each command is imported only when asked for", () => {
  const { sources, packages } = loadedBy("src/cli/main.ts");
  expect(packages.filter((name) => !name.startsWith("node:"))).toEqual(["commander"]);
  expect(sources).toEqual([
    "src/cli/main.ts",
    "src/experiment/provenance.ts",
    "src/cli/output.ts",
    "src/errors.ts",
    "src/cli/out-of-memory.ts",
  ]);
  const { dynamics } = importsOf(fs.readFileSync(path.join(root, "src/cli/main.ts"), "utf8"));
  expect(dynamics).toEqual(NAMES.map((name) => `./${name}.js`));
});

test("--version is the package's; help of one command is its own", () => {
  const { version } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"));
  expect(varidiff("--version")).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
  for (const args of [
    ["help", "train"],
    ["train", "--help"],
  ]) {
    const { status, stdout } = varidiff(...args);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Usage: varidiff train \[options\] <what>/);
  }
});

test("without a command, help goes to stderr and the exit code says that nothing was done", () => {
  const { status, stdout, stderr } = varidiff();
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toContain("Usage: varidiff");
});

test("the result is text, or one JSON document in which NaN and infinities are null", () => {
  expect(varidiff("train", "x")).toEqual({ status: 0, stdout: "a is 1\n", stderr: "" });
  const { stdout } = varidiff("train", "x", "--json");
  expect(JSON.parse(stdout)).toEqual({ a: 1, nan: null, inf: [null] });
});

test.each([
  [["train", "mistake"], 3, "varidiff: expected a, found b; do c\n"],
  [["trian"], 1, 'varidiff: unknown command "trian": did you mean train?\n'],
  [["help", "foo"], 1, 'varidiff: unknown command "foo"\n'],
  [["help", "trian"], 1, 'varidiff: unknown command "trian": did you mean train?\n'],
  [["train", "x", "--jsno"], 1, 'varidiff: unknown option "--jsno": did you mean --json?\n'],
  [["train"], 1, 'varidiff: missing required argument "what"\n'],
  [["train", "x", "--steps"], 1, 'varidiff: option "--steps <n>" argument missing\n'],
])("%j is a user's mistake: one line and exit code %d", (args, status, stderr) => {
  expect(varidiff(...args)).toEqual({ status, stdout: "", stderr });
});

test.each([
  ["memory", "out of memory: an operator asked for 3 GiB more; take a smaller network"],
  ["gpu", "out of memory of the GPU: an operator asked for 2.50 GiB more; take a smaller network"],
])("%s that is used up is one line", (what, said) => {
  const { status, stdout, stderr } = varidiff("train", what);
  expect({ status, stdout, lines: stderr.trim().split("\n").length }).toEqual({
    status: 1,
    stdout: "",
    lines: 1,
  });
  expect(stderr).toContain(`varidiff: ${said}`);
});

test("anything else is a defect, with its stack", () => {
  const { status, stdout, stderr } = varidiff("train", "defect");
  expect({ status, stdout }).toEqual({ status: 70, stdout: "" });
  expect(stderr).toMatch(
    /^varidiff: TypeError: x is undefined\n {4}at [\s\S]*\nthis is a defect in varidiff: .*\n$/,
  );
});

test("a reader that has seen enough ends the command quietly", async () => {
  const child = spawn(process.execPath, [path.join(folder, "bin/varidiff.js"), "train", "flood"]);
  let stderr = "";
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  await once(child.stdout, "data");
  child.stdout.destroy();
  const [code] = await once(child, "exit");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});

test("without a build, one line says how to make it", () => {
  const bare = path.join(folder, "bare");
  fs.mkdirSync(path.join(bare, "bin"), { recursive: true });
  fs.copyFileSync(path.join(root, "bin/varidiff.js"), path.join(bare, "bin/varidiff.mjs"));
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [path.join(bare, "bin/varidiff.mjs"), "--help"],
    {
      encoding: "utf8",
    },
  );
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toBe('varidiff: not built yet; run "npm run setup" in the folder of varidiff\n');
});
