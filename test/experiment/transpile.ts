/** For tests that need a process of their own: the sources as JavaScript, without the project's build. */
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

export const root = fileURLToPath(new URL("../../", import.meta.url));

/** The static and dynamic imports of TypeScript `source` that remain at run time. */
export function importsOf(source: string): { readonly statics: string[]; readonly dynamics: string[] } {
  const code = javascript(source);
  const statics = [...code.matchAll(/^(?:import|export)\s[^;]*?from\s+"([^"]+)"|^import\s+"([^"]+)"/gm)];
  const dynamics = [...code.matchAll(/\bimport\("([^"]+)"\)/g)];
  return {
    statics: statics.map((match) => match[1] ?? match[2] ?? ""),
    dynamics: dynamics.map((match) => match[1] ?? ""),
  };
}

/** The sources that `entry` (as in `src/cli/main.ts`) loads when it starts, itself first, and the packages. */
export function loadedBy(entry: string): { readonly sources: string[]; readonly packages: string[] } {
  const sources = [entry];
  const packages = new Set<string>();
  for (const file of sources) {
    for (const name of importsOf(fs.readFileSync(path.join(root, file), "utf8")).statics) {
      const source = path.join(path.dirname(file), name.replace(/\.js$/, ".ts"));
      if (!name.startsWith(".")) packages.add(name);
      else if (!sources.includes(source)) sources.push(source);
    }
  }
  return { sources, packages: [...packages].sort() };
}

/** Writes `entry` and all it loads into `folder` as JavaScript, with `dist` for `src`; returns the entry's new path. */
export function transpileInto(folder: string, entry: string): string {
  const target = (file: string) => path.join(folder, file.replace(/^src/, "dist").replace(/\.ts$/, ".js"));
  for (const file of loadedBy(entry).sources) {
    fs.mkdirSync(path.dirname(target(file)), { recursive: true });
    fs.writeFileSync(target(file), javascript(fs.readFileSync(path.join(root, file), "utf8")));
  }
  furnish(folder);
  return target(entry);
}

/** Writes all sources into `folder` as JavaScript, `dist` for `src`, with a `package.json` and the packages they need. */
export function transpileAll(folder: string): void {
  for (const name of fs.readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })) {
    const source = path.join(root, "src", name);
    if (!/\.[tj]s$/.test(name)) continue;
    const target = path.join(folder, "dist", name.replace(/\.ts$/, ".js"));
    fs.mkdirSync(path.dirname(target), { recursive: true });
    const text = fs.readFileSync(source, "utf8");
    fs.writeFileSync(target, name.endsWith(".ts") ? javascript(text) : text);
  }
  furnish(folder);
}

function furnish(folder: string): void {
  if (fs.existsSync(path.join(folder, "package.json"))) return;
  fs.copyFileSync(path.join(root, "package.json"), path.join(folder, "package.json"));
  fs.symlinkSync(path.join(root, "node_modules"), path.join(folder, "node_modules"));
}

function javascript(source: string): string {
  const compilerOptions = {
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.ESNext,
    verbatimModuleSyntax: true,
  };
  // The compiler's own name for it, module.ts, fails on sources that import "./module.js".
  return ts.transpileModule(source, { compilerOptions, fileName: "transpiled.ts" }).outputText;
}
