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
  if (!fs.existsSync(path.join(folder, "package.json"))) {
    fs.copyFileSync(path.join(root, "package.json"), path.join(folder, "package.json"));
    fs.symlinkSync(path.join(root, "node_modules"), path.join(folder, "node_modules"));
  }
  return target(entry);
}

function javascript(source: string): string {
  const compilerOptions = {
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.ESNext,
    verbatimModuleSyntax: true,
  };
  return ts.transpileModule(source, { compilerOptions }).outputText;
}
