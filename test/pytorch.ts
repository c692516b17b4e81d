/** PyTorch from Python, where it is installed. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

/** A Python that has torch, the first of the path or Debian's; undefined where neither has. */
export const python: string | undefined = ["python3", "/usr/bin/python3"].find((candidate) => {
  try {
    const probe = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is None)";
    execFileSync(candidate, ["-c", probe], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
});

/** What a program of these lines, after `import torch`, prints; it runs in `folder`. */
export function runPython(folder: string, lines: readonly string[]): string {
  if (python === undefined) throw new Error("expected a Python with torch");
  const program = ["import torch, collections, argparse", ...lines].join("\n");
  const own = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-python-"));
  try {
    const file = path.join(own, "program.py"); // TorchScript compiles from a file's source alone
    fs.writeFileSync(file, program);
    return execFileSync(python, [file], { cwd: folder, encoding: "utf8" });
  } finally {
    fs.rmSync(own, { recursive: true });
  }
}
