/** A model and a data set so small that a run of them takes a second, and the command line in processes of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { idxFile } from "../data/make.js";
import { root, transpileAll } from "./transpile.js";

/** 40 images to train on and 24 to test on, 8x8, of three classes. */
export const trainImages = 40;
export const testImages = 24;

/** Writes the data and `tiny.yaml` into `folder`; returns the config's path. */
export function writeTiny(folder: string): string {
  const data = path.join(folder, "data");
  fs.mkdirSync(data, { recursive: true });
  const sets = [
    ["train", trainImages],
    ["t10k", testImages],
  ] as const;
  for (const [name, count] of sets) {
    const pixels = Array.from({ length: count * 64 }, (_, i) => (i * 37 + (i >> 6) * 11) % 256);
    fs.writeFileSync(path.join(data, `${name}-images-idx3-ubyte`), idxFile([count, 8, 8], pixels));
    const labels = Array.from({ length: count }, (_, i) => i % 3);
    fs.writeFileSync(path.join(data, `${name}-labels-idx1-ubyte`), idxFile([count], labels));
  }
  const config = path.join(folder, "tiny.yaml");
  fs.writeFileSync(
    config,
    `system: vdm
data: { name: idx, path: ${JSON.stringify(data)} }
model:
  schedule: { kind: learned-linear }
  network: { kind: vdm-unet, channels: 64, depth: 1, attention: none, dropout: 0.1 }
train: { steps: 12, batchSize: 8, logEvery: 2, checkpointEvery: 5, sampleEvery: 0 }
optimiser: { learningRate: 1.0e-3, warmupSteps: 2, emaRate: 0.9 }
evaluate: { batchSize: 8 }
sample: { count: 4, steps: 3 }
precision: float32
threads: 1
`,
  );
  return config;
}

/** A package of its own made of these sources, with `build` (the native addon) or without. */
export function makePackage(folder: string, bridge: "built" | "absent"): string {
  const home = path.join(folder, `package-${bridge}`);
  transpileAll(home);
  for (const name of ["assets", "configs", "native", ...(bridge === "built" ? ["build"] : [])])
    fs.symlinkSync(path.join(root, name), path.join(home, name));
  fs.mkdirSync(path.join(home, "bin"));
  fs.copyFileSync(path.join(root, "bin/varidiff.js"), path.join(home, "bin/varidiff.js"));
  return path.join(home, "bin/varidiff.js");
}

export function temporaryFolder(): string {
  return fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-test-")));
}

export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command at work: its process, and what came of it. */
export interface Running {
  readonly child: ChildProcess;
  readonly outcome: Promise<Outcome>;
}

/** What is still running when the tests end does not outlive them. */
const children = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

/** Runs node on `script`. */
export function start(script: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  const child = spawn(process.execPath, [script, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 100_000, // a test that fails leaves no process behind
    // Two threads that wait for each other in a busy loop stand still where another test has the second core.
    env: { ...process.env, OMP_WAIT_POLICY: "passive", ...env },
  });
  children.add(child);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (piece) => {
    stdout += piece;
  });
  child.stderr.on("data", (piece) => {
    stderr += piece;
  });
  const outcome = once(child, "close").then(([code, signal]): Outcome => {
    children.delete(child);
    return { code, signal, stdout, stderr };
  });
  return { child, outcome };
}

/** Every file below `folder` with the SHA-256 of its content and when it was changed. */
export function snapshot(folder: string): Record<string, string> {
  const files = fs
    .readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => fs.statSync(path.join(folder, name)).isFile())
    .sort();
  return Object.fromEntries(
    files.map((name) => {
      const file = path.join(folder, name);
      const sum = createHash("sha256").update(fs.readFileSync(file)).digest("hex");
      return [name, `${sum} ${fs.statSync(file).mtimeMs}`];
    }),
  );
}

/** The SHA-256 of each file of a checkpoint: `weights`, `ema`, `optimiser` and `state.json`. */
export function checkpointSums(run: string, step: number): Record<string, string> {
  const folder = path.join(run, "checkpoints", String(step).padStart(8, "0"));
  return Object.fromEntries(
    fs
      .readdirSync(folder)
      .sort()
      .map((name) => [
        name,
        createHash("sha256")
          .update(fs.readFileSync(path.join(folder, name)))
          .digest("hex"),
      ]),
  );
}

/** Waits until `there` is true. */
export async function until(there: () => boolean): Promise<void> {
  while (!there()) await new Promise((resolve) => setTimeout(resolve, 5));
}
