/** The package from outside: every subpath imports, and the examples of README and `src/index.ts` type-check and run. */
import fs from "node:fs";
import path from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makePackage, start, temporaryFolder } from "./experiment/tiny.js";
import { root } from "./experiment/transpile.js";

let folder: string;
let home: string;
beforeAll(() => {
  folder = temporaryFolder();
  home = path.dirname(path.dirname(makePackage(folder, "built")));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const packageJson = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"));
const subpaths = Object.keys(packageJson.exports).filter((name) => name !== "./package.json");

/** The fenced TypeScript in a text that imports the package; in a doc comment each line begins with ` * `. */
function examplesIn(file: string): string[] {
  const text = fs.readFileSync(path.join(root, file), "utf8").replaceAll(/^ \* ?/gm, "");
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```/gm)]
    .map(([, code = ""]) => code)
    .filter((code) => code.includes('from "varidiff'));
}

const [example = ""] = examplesIn("src/index.ts");

test("every subpath of the exports map is a folder of src with an index", () => {
  for (const subpath of subpaths) {
    const stem = subpath === "." ? "index" : `${subpath.slice(2)}/index`;
    const expected = { types: `./dist/${stem}.d.ts`, default: `./dist/${stem}.js` };
    expect(packageJson.exports[subpath]).toEqual(expected);
    expect(fs.existsSync(path.join(root, "src", `${stem}.ts`)), subpath).toBe(true);
  }
});

test("README and src/index.ts name every subpath", () => {
  const names = subpaths
    .filter((subpath) => subpath !== ".")
    .map((subpath) => `\`varidiff${subpath.slice(1)}\``);
  for (const file of ["README.md", "src/index.ts"]) {
    const text = fs.readFileSync(path.join(root, file), "utf8");
    expect(names.filter((name) => !text.includes(name))).toEqual([]);
  }
});

test("every subpath imports by the package's name", async () => {
  const names = subpaths.map((subpath) => `varidiff${subpath.slice(1)}`);
  const script = path.join(home, "imports.js");
  fs.writeFileSync(
    script,
    `for (const name of ${JSON.stringify(names)}) {
      const { length } = Object.keys(await import(name));
      console.log(name, length > 0);
    }`,
  );
  const { code, stdout, stderr } = await start(script, []).outcome;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toBe(names.map((name) => `${name} true\n`).join(""));
});

test("the examples type-check as a program of somebody else", () => {
  const examples = [example, ...examplesIn("README.md"), ...examplesIn("docs/cold.md")];
  const files = examples.map((code, i) => {
    const file = path.join(folder, `example-${i}.mts`);
    fs.writeFileSync(file, code);
    return file;
  });
  fs.symlinkSync(path.join(root, "node_modules"), path.join(folder, "node_modules"));
  const program = ts.createProgram(files, {
    ...{ strict: true, noEmit: true, skipLibCheck: true },
    ...{ target: ts.ScriptTarget.ES2023, lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"] },
    ...{ module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext },
    types: ["node"],
    typeRoots: [path.join(root, "node_modules/@types")],
    paths: { varidiff: [path.join(root, "src/index.ts")], "varidiff/*": [path.join(root, "src/*/index.ts")] },
  });
  const faults = files.flatMap((file) => ts.getPreEmitDiagnostics(program, program.getSourceFile(file)));
  expect(faults.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"))).toEqual([]);
});

test("the example of src/index.ts runs: it trains a VDM on Fashion-MNIST and draws from it", async () => {
  expect(example).toContain('from "varidiff"');
  const shorter = example.replace("step < 500", "step < 2").replace("steps: 100", "steps: 2");
  expect(shorter).toHaveLength(example.length - 4);
  const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext };
  const script = path.join(home, "example.js");
  fs.writeFileSync(script, ts.transpileModule(shorter, { compilerOptions }).outputText);
  const { code, stdout, stderr } = await start(script, []).outcome;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const [bits, shape] = stdout.trim().split("\n");
  // At initialisation about 14.1 bits/dim: (18.3 / 2) (0.5756 + 0.7264 m2) / ln 2, with 0.676 the mean square m2 of the set.
  expect(Number(bits)).toBeGreaterThan(10);
  expect(Number(bits)).toBeLessThan(20);
  expect(shape).toBe("[ 16, 1, 28, 28 ]");
});
